// The owner's page under Home Assistant's ingress. It can take away (a member, an invitation) and never create:
// what a home has is made in Home Assistant. Texts of the server reach the page as text only.

const FEW = 20; // rows of a list until the rest is asked for

const WHAT = {
  "audit.cut": "Old records were removed",
  "gateway.copy": "A copy of this home's gateway tried to connect",
  "gateway.enrolled": "A gateway was connected to this home",
  "gateway.false_checkpoint": "This home's gateway showed a record that the server never signed: it was not let in",
  "gateway.key_changed": "The gateway has a new key",
  "gateway.revoked": "A gateway was shut out",
  "invitation.created": "An invitation was made",
  "invitation.done": "An invitation was completed",
  "invitation.joined": "An invitation was opened",
  "invitation.withdrawn": "An invitation was withdrawn",
  "join.opened_twice": "An invitation was opened twice",
  "lock.registered": "A lock was added",
  "lock.removed": "A lock was removed",
  "member.added": "A member was added",
  "member.changed": "A member's locks or role changed",
  "member.ended": "A member was removed",
  "owner.claimed": "An owner code was used",
  "password.changed": "A password was changed",
  "relay.accepted": "A message to a lock was accepted",
  "relay.ended": "A message to a lock ended",
  "second.added": "A second step for signing in was added",
  "second.removed": "A second step for signing in was removed",
  "session.created": "Somebody signed in",
  "session.ended": "A session ended",
  "site.restored": "The server was restored from a backup",
  "site.synced": "The home set its lists right",
  "user.deleted": "A member deleted their account",
};

const main = document.getElementById("main");
const status = document.getElementById("status");
const refresh = document.getElementById("refresh");
const ask = document.getElementById("ask");

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== ""));
  return made;
}

function time(ms) {
  const date = new Date(ms);
  return element("time", { datetime: date.toISOString() }, dates.format(date));
}

// A name that somebody chose: its direction of writing must not touch its neighbours.
const named = (text) => element("bdi", {}, text);

class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function call(method, path) {
  let answer;
  try {
    const response = await fetch(path, {
      method,
      headers: { "X-IGRS-Ingress": "1" },
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(15000),
    });
    answer = await response.json();
  } catch {
    throw new Refused(-1, "The server does not answer.");
  }
  if (answer.status !== 0) throw new Refused(answer.status, `The server refused: ${answer.message}.`);
  return answer.data;
}

// Says it to everybody, and takes the focus that the button had which is gone now.
function say(...parts) {
  status.replaceChildren(...parts);
  if (parts.length) status.focus();
}

function confirmed(title, text, yes) {
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").replaceChildren(...text);
  document.getElementById("ask-yes").textContent = yes;
  ask.returnValue = "no";
  ask.showModal();
  return new Promise((resolve) => {
    ask.addEventListener("close", () => resolve(ask.returnValue === "yes"), { once: true });
  });
}

function takeAway(label, aria, question, path, done) {
  const button = element("button", { type: "button", class: "danger", "aria-label": aria }, label);
  button.addEventListener("click", async () => {
    if (!(await confirmed(...question, label))) return;
    button.disabled = true;
    try {
      await call("DELETE", path);
    } catch (error) {
      button.disabled = false;
      say(error.message);
      return;
    }
    await load(...done);
  });
  return button;
}

function list(title, rows, empty) {
  const card = element("section", { class: "card" });
  const heading = element("h3", {}, title);
  const shown = element("ul", { class: "rows" }, ...rows.slice(0, FEW));
  card.append(heading, rows.length ? shown : element("p", { class: "quiet" }, empty));
  if (rows.length > FEW) {
    const more = element("button", { type: "button" }, `Show all ${rows.length}`);
    more.addEventListener("click", () => {
      const first = rows[FEW];
      shown.append(...rows.slice(FEW));
      more.remove();
      first.tabIndex = -1;
      first.focus();
    });
    card.append(more);
  }
  return card;
}

function row(name, small, ...rest) {
  return element("li", {}, element("div", {}, name, element("small", {}, ...small)), ...rest);
}

const counting = (title, rows) => (rows.length ? `${title} (${rows.length})` : title);
const counted = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function linkCard(site) {
  const card = element("section", { class: "card" }, element("h3", {}, "Home Assistant"));
  const { link } = site;
  card.append(
    link.online
      ? element("p", { class: "good" }, "Connected")
      : element("p", { class: "warn" }, "Not connected", ...(link.seen ? ["; last seen ", time(link.seen)] : [])),
    element("p", { class: "quiet" }, "Enrolled ", time(link.enrolled), ", key ", element("code", {}, link.fingerprint)),
  );
  return card;
}

function memberRow(site, member) {
  const parts = [
    member.role === "owner" ? "Owner" : "Member",
    member.state === "active" ? counted(member.locks, "lock", "locks") : "waits for the home",
  ];
  const question = [
    "Remove this member?",
    [named(member.name), " can no longer use this home's locks from away. Home Assistant is told, and decides about the door."],
  ];
  return row(
    element("strong", {}, named(member.name)),
    [`${parts.join(" · ")} · since `, time(member.created)],
    takeAway(
      "Remove",
      `Remove ${member.name}`,
      question,
      `api/sites/${site.id}/members/${member.user}`,
      [named(member.name), " was removed."],
    ),
  );
}

function invitationRow(site, invitation) {
  const kind = invitation.kind === "owner" ? "Owner code" : "Invitation link";
  const state = invitation.state === "joined" ? "opened, waits for the home" : "not opened yet";
  const twice = invitation.twice ? [element("span", { class: "warn" }, "Opened by a second device: withdraw it. "), element("br")] : [];
  return row(
    element("strong", {}, kind),
    [...twice, `${state} · until `, time(invitation.expires), " · ", element("code", {}, invitation.id.slice(0, 8))],
    takeAway(
      "Withdraw",
      `Withdraw ${kind.toLowerCase()} ${invitation.id.slice(0, 8)}`,
      ["Withdraw this invitation?", ["It can no longer be used. A new one is made in Home Assistant."]],
      `api/sites/${site.id}/invitations/${invitation.id}`,
      ["The invitation was withdrawn."],
    ),
  );
}

function lockRow(lock) {
  return row(element("code", {}, lock.device), [
    `${counted(lock.members, "member", "members")} may use it from away · since `,
    time(lock.created),
  ]);
}

function auditRow(site, entry) {
  const names = new Map(site.members.map((member) => [member.user, member.name]));
  const about = [];
  if (entry.user) about.push(" · ", names.has(entry.user) ? named(names.get(entry.user)) : `person ${entry.user.slice(0, 8)}`);
  if (entry.device) about.push(" · ", element("code", {}, entry.device));
  if (entry.outcome) about.push(` · ${entry.outcome}`);
  return row(WHAT[entry.what] ?? entry.what, [time(entry.time), ...about, ` · no. ${entry.i}`]);
}

function auditCard(site) {
  const card = list("Last records", site.audit.map((entry) => auditRow(site, entry)), "Nothing was recorded yet.");
  const { checkpoint } = site;
  if (!site.audit.length) return card;
  card.append(
    element(
      "p",
      { class: "quiet" },
      ...(checkpoint
        ? [`Signed up to no. ${checkpoint.last}, `, time(checkpoint.time), "."]
        : ["No record is signed yet; this happens within ten minutes."]),
    ),
  );
  return card;
}

function siteSection(site) {
  const heading = `site-${site.id}`;
  const section = element("section", { "aria-labelledby": heading }, element("h2", { id: heading }, named(site.name)));
  if (site.suspended) {
    section.append(
      element("p", { class: "card notice" }, "The server was restored from a backup. Members wait until Home Assistant has sent its lists."),
    );
  }
  section.append(
    linkCard(site),
    list(counting("Members", site.members), site.members.map((one) => memberRow(site, one)), "Nobody uses this home from away."),
    list(counting("Open invitations", site.invitations), site.invitations.map((one) => invitationRow(site, one)), "There is none."),
    list(counting("Locks", site.locks), site.locks.map(lockRow), "No lock may be used from away."),
    auditCard(site),
  );
  return section;
}

function notForYou() {
  return element(
    "section",
    { class: "card" },
    element("h2", {}, "Nothing to do here"),
    element("p", {}, "Use Home Assistant, or the link that you were given."),
    element(
      "p",
      { class: "quiet" },
      "This page is for the administrators whom the connected Home Assistant names. It is empty for everybody while Home Assistant is not connected.",
    ),
  );
}

function failed(error) {
  const again = element("button", { type: "button" }, "Try again");
  again.addEventListener("click", () => load());
  return element("section", { class: "card notice", role: "alert" }, element("p", {}, error.message), again);
}

let loading = 0;

async function load(...done) {
  const mine = ++loading;
  main.setAttribute("aria-busy", "true");
  let shown;
  try {
    const { sites } = await call("GET", "api/home");
    shown = [
      ...sites.map(siteSection),
      element("p", { class: "quiet" }, "Here you can only take away. People, invitations and locks are added in Home Assistant."),
    ];
  } catch (error) {
    shown = [error.code === 20 ? notForYou() : failed(error)];
  }
  if (mine !== loading) return; // a later one is on its way
  main.replaceChildren(...shown);
  main.removeAttribute("aria-busy");
  say(...done);
}

refresh.addEventListener("click", () => load());
load();
