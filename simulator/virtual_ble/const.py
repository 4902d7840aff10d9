"""Constants of the virtual adapter."""

DOMAIN = "virtual_ble"
CONF_SLOTS = "slots"
CONF_WAIT_FOR_MTU = "wait_for_mtu"
DEFAULT_SLOTS = 3
"""Connections at a time, as an ESPHome Bluetooth proxy has."""
MTU = 247
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""Waits between attempts to reach the simulator; the last one again and again."""
INTERVAL_MIN_MS = 7.5
INTERVAL_MAX_MS = 15.0
"""Connection interval asked for: what Home Assistant's own adapters use while connecting."""
SUPERVISION_MS = 2000
SCAN_INTERVAL_MS = 60.0
