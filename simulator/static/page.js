// @ts-check
// Draws what the simulator tells and sends what a person does. No framework: one state per lock, one function that shows it.

/**
 * @typedef {{number: number, time: number, text: string, kind: string}} Happening
 * @typedef {{position: number, target: number | null, operation: number | null, motor_seconds: number,
 *   latch_pulled: boolean, door_open: boolean, jam: boolean}} Physical
 * @typedef {{id: string, address: string, name: string, radio_name: string, setup_code: string, powered: boolean, bolt: string, door: string,
 *   battery: {percent: number, low: boolean}, tamper: boolean, paired: boolean | null, setup_mode: boolean,
 *   clock_trusted: boolean, clock: number | null, counter: number | null, connections: number, advertising_ms: number | null,
 *   indicator: string | null, physical: Physical, events: Happening[], rssi: Record<string, number | null>}} Lock
 * @typedef {{interval_ms: number | null, loss: number, gateways: string[]}} Radio
 */

const OUT_OF_REACH = -101;
const STATES = {
  locked: "Locked", unlocked: "Unlocked", locking: "Locking…", unlocking: "Unlocking…",
  jammed: "Jammed", open: "Latch open", unknown: "Unknown",
};

/** @type {Map<string, HTMLElement>} */
const cards = new Map();
/** @type {Map<string, Lock>} */
const locks = new Map();

/** @param {string} id @returns {any} */
const byId = (id) => document.getElementById(id);

/** @param {ParentNode} root @param {string} selector @returns {any} */
const find = (root, selector) => root.querySelector(selector);

/** Show a message for some seconds. @param {string} text */
function toast(text) {
  const line = document.createElement("p");
  line.textContent = text;
  byId("toasts").append(line);
  setTimeout(() => line.remove(), 5000);
}

/** Post JSON; the answer, or null after an error was shown. @param {string} path @param {object} body @returns {Promise<any>} */
async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    const data = await answer.json();
    if (answer.ok) return data;
    toast(data.error);
  } catch {
    toast("The simulator does not answer.");
  }
  return null;
}

/** Do something to a lock. @param {string} id @param {string} action @param {object} [body] */
async function act(id, action, body = {}) {
  const answer = await post(`/api/locks/${id}/${action}`, body);
  if (!answer) {
    const known = locks.get(id);
    if (known) show(known); // a switch goes back to what is true
    return;
  }
  if ("meaning" in answer && !answer.accepted) toast(`The lock says: ${answer.meaning}.`);
  show(answer);
}

/** Send at most one request at a time while a slider moves. @param {(value: number) => Promise<unknown>} send */
function latest(send) {
  let busy = false;
  /** @type {number | null} */
  let waiting = null;
  return async (/** @type {number} */ value) => {
    waiting = value;
    if (busy) return;
    busy = true;
    while (waiting !== null) {
      const next = waiting;
      waiting = null;
      await send(next);
    }
    busy = false;
  };
}

/** @param {Lock} lock */
function describe(lock) {
  const { position, door_open } = lock.physical;
  const bolt = position === 1 ? "thrown" : position === 0 ? "drawn back" : "in between";
  return `${lock.name}: door ${door_open ? "open" : "closed"}, bolt ${bolt}`;
}

/** @param {Lock} lock @returns {Record<string, string>} */
function texts(lock) {
  const clock = lock.clock === null ? "lost" : new Date(lock.clock * 1000).toLocaleTimeString();
  return {
    name: lock.name,
    address: lock.address,
    radio_name: lock.radio_name,
    setup_code: lock.setup_code,
    state_text: !lock.powered ? "No power"
      : lock.bolt === "locked" && lock.door === "open" ? "Bolt out, door open" // nothing is locked so
        : STATES[/** @type {keyof typeof STATES} */ (lock.bolt)],
    battery_text: `${lock.battery.percent} %${lock.battery.low ? " low" : ""}`,
    pairing_text: lock.setup_mode ? "setup mode" : lock.paired === null ? "–" : lock.paired ? "paired" : "not paired",
    clock_text: lock.clock_trusted ? clock : "not set",
    advertising_text: lock.advertising_ms ? `every ${lock.advertising_ms} ms` : "silent",
    connections: String(lock.connections),
    counter_text: lock.counter === null ? "–" : String(lock.counter),
  };
}

/** Make a lock's card and bind its buttons. @param {Lock} lock @returns {HTMLElement} */
function build(lock) {
  const card = /** @type {HTMLElement} */ (byId("lock-template").content.firstElementChild.cloneNode(true));
  const id = lock.id;
  card.id = `lock-${id}`;
  const title = find(card, "h2");
  title.id = `title-${id}`;
  card.setAttribute("aria-labelledby", title.id);
  const gradient = find(card, "linearGradient"); // one of each id on the page
  gradient.id = `inside-${id}`;
  find(card, ".inside").style.fill = `url("#inside-${id}")`;
  find(card, ".code").open = lock.setup_mode; // it is needed next
  find(card, "[data-qr]").src = `/locks/${id}/qr.svg`;

  const now = () => /** @type {Lock} */ (locks.get(id));
  /** @type {Record<string, () => object>} */
  const bodies = {
    turn: () => ({ bolt: now().physical.position === 1 ? "unlocked" : "locked" }),
    door: () => ({ open: !now().physical.door_open }),
    power: () => ({ on: !now().powered }),
    hold_button: () => ({ seconds: 10 }),
  };
  for (const button of card.querySelectorAll("[data-do]")) {
    const action = /** @type {HTMLElement} */ (button).dataset.do ?? "";
    button.addEventListener("click", () => act(id, action, bodies[action]?.() ?? {}));
  }
  for (const box of card.querySelectorAll("[data-switch]")) {
    const input = /** @type {HTMLInputElement} */ (box);
    input.addEventListener("change", () => act(id, input.dataset.switch ?? "", { on: input.checked }));
  }
  const send = latest((percent) => act(id, "battery", { percent }));
  find(card, "[data-range]").addEventListener("input", (/** @type {any} */ event) => send(Number(event.target.value)));
  find(card, "[data-form]").addEventListener("submit", (/** @type {any} */ event) => {
    event.preventDefault();
    const digits = event.target.elements.digits.value.trim();
    if (!/^[0-9]+$/.test(digits)) {
      toast(digits ? "A PIN has digits only." : "Type a PIN first.");
      return;
    }
    act(id, "pin", { digits });
    event.target.reset();
  });
  find(card, "[data-copy]").addEventListener("click", async () => {
    await navigator.clipboard.writeText(now().setup_code);
    toast("Copied the setup code.");
  });
  byId("locks").append(card);
  return card;
}

/** Move the drawn bolt; a running motor takes its time. @param {HTMLElement} card @param {Physical} physical */
function drawBolt(card, physical) {
  const moving = physical.target !== null;
  const goal = physical.target ?? physical.position;
  const way = Math.abs(goal - physical.position);
  const bolt = find(card, ".bolt");
  bolt.style.setProperty("--bolt-time", moving ? `${way * physical.motor_seconds}s` : "0.12s");
  bolt.style.setProperty("--bolt-at", String(physical.jam && moving ? (goal + physical.position) / 2 : goal));
  card.dataset.moving = String(moving);
}

/** @param {HTMLElement} card @param {Lock} lock */
function drawSignals(card, lock) {
  const field = find(card, ".signal");
  const list = find(field, "[data-signals]");
  const names = Object.keys(lock.rssi);
  field.hidden = names.length === 0;
  if (list.dataset.names !== names.join("\n")) {
    list.dataset.names = names.join("\n");
    list.replaceChildren(...names.map((name) => {
      const row = byId("signal-template").content.firstElementChild.cloneNode(true);
      find(row, "[data-name]").textContent = name;
      const send = latest((value) => act(lock.id, "distance", { gateway: name, rssi: value === OUT_OF_REACH ? null : value }));
      find(row, "input").addEventListener("input", (/** @type {any} */ event) => send(Number(event.target.value)));
      return row;
    }));
  }
  names.forEach((name, index) => {
    const row = list.children[index];
    const rssi = lock.rssi[name] ?? null;
    const input = find(row, "input");
    if (document.activeElement !== input) input.value = String(rssi ?? OUT_OF_REACH);
    find(row, "output").textContent = rssi === null ? "out of reach" : `${rssi} dBm`;
  });
}

/** @param {HTMLElement} card @param {Happening[]} events */
function drawEvents(card, events) {
  const list = find(card, "[data-events]");
  // Answers and the stream may overtake each other: what is older than the newest shown was shown with it.
  const last = Number(list.firstElementChild?.dataset.number ?? 0);
  const fresh = events.filter((event) => event.number > last);
  for (const event of fresh) { // the newest on top
    const line = document.createElement("li");
    line.dataset.number = String(event.number);
    line.className = event.kind;
    const time = document.createElement("time");
    const date = new Date(event.time * 1000);
    time.textContent = event.time ? date.toLocaleTimeString([], { hour12: false }) : "earlier";
    if (event.time) time.dateTime = date.toISOString();
    const text = document.createElement("span");
    text.textContent = event.text;
    line.append(time, text);
    list.prepend(line);
  }
  while (list.children.length > 60) list.lastElementChild.remove();
}

/** Show a lock as it is. @param {Lock} lock */
function show(lock) {
  locks.set(lock.id, lock);
  let card = cards.get(lock.id);
  if (!card) cards.set(lock.id, (card = build(lock)));
  const { physical } = lock;
  Object.assign(card.dataset, {
    bolt: lock.bolt, door: lock.door, powered: lock.powered, open: physical.door_open, jam: physical.jam,
    latch: physical.latch_pulled, led: lock.indicator ?? (lock.setup_mode ? "setup" : ""),
  });
  const values = texts(lock);
  for (const spot of card.querySelectorAll("[data-text]")) {
    const text = values[/** @type {HTMLElement} */ (spot).dataset.text ?? ""] ?? "";
    if (spot.textContent !== text) spot.textContent = text; // so that nothing is read out twice
  }
  find(card, "svg").setAttribute("aria-label", describe(lock));
  drawBolt(card, physical);
  find(card, '[data-do="turn"]').textContent = physical.position === 1 ? "Unlock by hand" : "Lock by hand";
  find(card, '[data-do="door"]').textContent = physical.door_open ? "Close the door" : "Open the door";
  find(card, '[data-do="power"]').textContent = lock.powered ? "Pull the power" : "Give it power";
  for (const action of ["press_button", "hold_button", "forget_clock"]) find(card, `[data-do="${action}"]`).disabled = !lock.powered;
  find(card, '[data-switch="jam"]').checked = physical.jam;
  find(card, '[data-switch="tamper"]').checked = lock.tamper;
  find(card, '[data-meter="battery"]').value = lock.battery.percent;
  const range = find(card, "[data-range]");
  if (document.activeElement !== range) range.value = String(lock.battery.percent);
  range.closest(".slider").querySelector("output").textContent = `${lock.battery.percent} %`;
  drawSignals(card, lock);
  drawEvents(card, lock.events);
}

/** @param {Radio} radio */
function showRadio(radio) {
  const items = (radio.gateways.length ? radio.gateways : ["none plugged in"]).map((name) => {
    const item = document.createElement("li");
    item.textContent = name;
    if (!radio.gateways.length) item.className = "none";
    return item;
  });
  byId("gateways").replaceChildren(...items);
  const select = byId("interval");
  const value = radio.interval_ms === null ? "" : String(radio.interval_ms);
  if (![...select.options].some((option) => option.value === value)) select.append(new Option(`${value} ms`, value));
  select.value = value;
  const percent = Math.round(radio.loss * 100);
  if (document.activeElement !== byId("loss")) byId("loss").value = String(percent);
  byId("loss-value").textContent = `${percent} %`;
}

/** @param {string} state @param {string} text */
function showLink(state, text) {
  byId("link").className = `link ${state}`;
  byId("link-text").textContent = text;
}

byId("interval").addEventListener("change", (/** @type {any} */ event) => {
  const value = event.target.value;
  post("/api/radio", { interval_ms: value === "" ? null : Number(value) });
});
const sendLoss = latest((percent) => post("/api/radio", { loss: percent / 100 }));
byId("loss").addEventListener("input", (/** @type {any} */ event) => sendLoss(Number(event.target.value)));

const stream = new EventSource("/api/events");
stream.addEventListener("open", () => {
  showLink("live", "Live");
  for (const list of document.querySelectorAll("#locks [data-events]")) list.replaceChildren(); // another run counts anew
});
stream.addEventListener("error", () => showLink("lost", "The simulator is gone; trying again"));
stream.addEventListener("lock", (event) => show(JSON.parse(event.data)));
stream.addEventListener("radio", (event) => showRadio(JSON.parse(event.data)));
