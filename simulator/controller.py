"""The controllers of the virtual radio: what a host sees of `link` through HCI.

A controller here is one with legacy advertising only (no advertising sets), as most locks and
many adapters are. Everything that is not about advertising, scanning, connecting and sending is
Bumble's own `Controller`.
"""

import asyncio
from typing import TYPE_CHECKING, override

from bumble import hci, ll
from bumble.controller import Controller, LegacyAdvertiser
from bumble.core import PhysicalTransport

from .link import INTERVAL_UNIT_MS, AirLink, Data, End, Radio

if TYPE_CHECKING:
    from collections.abc import Callable

    from bumble.controller import Connection

ADVERTISING_UNIT_MS = 0.625
ADVERTISING_DELAY_MS = 10.0
"""Random 0 to 10 ms after each interval (5.4, volume 6 part B, 4.4.2.2.1): nobody stays in step."""
SHORTEST_INTERVAL = 6
"""7.5 ms in units of 1.25 ms: what a host is told when packets go at once."""
PACKET_LENGTH = 251
PACKET_BUFFERS = 24

_Report = hci.HCI_LE_Advertising_Report_Event.Report
_Type = hci.HCI_LE_Advertising_Report_Event.EventType
_OK = hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)


class Advertiser(LegacyAdvertiser):
    """Legacy advertising at the rate that was asked for."""

    controller: VirtualController

    @property
    def connectable(self) -> bool:
        """Whether these are ADV_IND."""
        return self.advertising_type == _Type.ADV_IND

    @property
    def scannable(self) -> bool:
        """Whether a scan request is answered."""
        return self.advertising_type in (_Type.ADV_IND, _Type.ADV_SCAN_IND)

    @override
    def _on_timer_fired(self) -> None:
        delay = self.controller.radio.random.random() * ADVERTISING_DELAY_MS
        interval = self.advertising_interval_min * ADVERTISING_UNIT_MS
        self.timer_handle = asyncio.get_running_loop().call_later(
            (interval + delay) / 1000, self._on_timer_fired
        )
        self.send_advertising_data()

    @override
    def send_advertising_data(self) -> None:
        self.controller.radio.advertise(self)


class VirtualController(Controller):
    """One Bluetooth LE controller on a `Radio`."""

    acl_data_packet_length = PACKET_LENGTH
    le_acl_data_packet_length = PACKET_LENGTH
    total_num_acl_data_packets = PACKET_BUFFERS
    total_num_le_acl_data_packets = PACKET_BUFFERS
    supported_max_tx_octets = PACKET_LENGTH
    supported_max_rx_octets = PACKET_LENGTH
    le_features = Controller.le_features & ~(
        hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LE_PERIODIC_ADVERTISING
    )

    def __init__(self, radio: Radio, name: str) -> None:
        """Put a controller on the air.

        Args:
            radio: the air.
            name: how distances refer to it. A host can set it (Write Local Name command).
        """
        super().__init__(name, link=radio)
        self.radio = radio
        self.on_rename: Callable[[], None] = lambda: None
        """Called when the host gave its controller another name."""
        self.deaf = False
        """Reports are dropped (the host does not read them fast enough)."""
        self.le_legacy_advertiser = Advertiser(self)
        self._scan_share = 1.0
        self._reported: set[tuple[bytes, int]] = set()

    def power_off(self) -> None:
        """Leave the air without a goodbye, as when power is cut."""
        self.host = None
        self._stop()
        self.radio.remove_controller(self)
        self.le_connections.clear()

    def unplug(self) -> None:
        """Leave the air because the host died: peers are told at once."""
        self.host = None
        self._stop()
        self._drop_links()
        self.radio.remove_controller(self)

    def _drop_links(self) -> None:
        for connection in list(self.le_connections.values()):
            if isinstance(connection, End) and connection.air is not None:
                connection.air.drop(hci.HCI_ErrorCode.REMOTE_USER_TERMINATED_CONNECTION_ERROR)

    def _stop(self) -> None:
        self.le_legacy_advertiser.stop()
        self.le_scan_enable = False
        self.pending_le_connection = None
        self._listen()

    def _listen(self) -> None:
        if self.le_scan_enable or self.pending_le_connection is not None:
            self.radio.listeners.add(self)
        else:
            self.radio.listeners.discard(self)

    # --- hearing advertisements ---------------------------------------------------------------

    def wants(self, advertiser: Advertiser) -> bool:
        """Whether this controller is waiting to connect to the advertiser."""
        pending = self.pending_le_connection
        return (
            pending is not None
            and advertiser.connectable
            and pending.peer_address == advertiser.address
            and advertiser.address not in self.le_connections
        )

    def initiate(self, advertiser: Advertiser) -> None:
        """Connect to an advertiser that was just heard."""
        pending = self.pending_le_connection
        if not isinstance(pending, hci.HCI_LE_Create_Connection_Command):
            return
        self.pending_le_connection = None
        self._listen()
        advertiser.stop()
        interval = self.radio.interval_ms
        if interval is None:
            # The longest that was allowed leaves a shared radio the most air.
            interval = pending.connection_interval_max * INTERVAL_UNIT_MS
        own = (
            self.public_address
            if pending.own_address_type == hci.OwnAddressType.PUBLIC
            else self.random_address
        )
        central = self._new_end(hci.Role.CENTRAL, own, advertiser.address)
        peer = advertiser.controller
        peripheral = peer._new_end(hci.Role.PERIPHERAL, advertiser.address, own)  # noqa: SLF001 - same class
        AirLink(self.radio, central, peripheral, interval, pending.supervision_timeout * 10)
        for end in (central, peripheral):
            end.controller.send_hci_packet(
                hci.HCI_LE_Connection_Complete_Event(
                    status=hci.HCI_ErrorCode.SUCCESS,
                    connection_handle=end.handle,
                    role=end.role,
                    peer_address_type=end.peer_address.address_type,
                    peer_address=end.peer_address,
                    connection_interval=max(SHORTEST_INTERVAL, round(interval / INTERVAL_UNIT_MS)),
                    peripheral_latency=0,
                    supervision_timeout=pending.supervision_timeout,
                    central_clock_accuracy=0,
                )
            )

    def _new_end(self, role: hci.Role, own: hci.Address, peer: hci.Address) -> End:
        end = End(
            controller=self,
            handle=self.allocate_connection_handle(),
            role=role,
            self_address=own,
            peer_address=peer,
            link=self.radio,
            transport=PhysicalTransport.LE,
            link_type=hci.HCI_Connection_Complete_Event.LinkType.ACL,
        )
        self.le_connections[peer] = end
        return end

    def on_advertising_event(self, advertiser: Advertiser, rssi: int) -> None:
        """Report an advertisement, and its scan response when scanning actively."""
        if not self.le_scan_enable or self.deaf:
            return
        if self._scan_share < 1 and self.radio.random.random() >= self._scan_share:
            return
        self._report(advertiser, advertiser.advertising_type, advertiser.advertising_data, rssi)
        active = self.le_scan_type == hci.HCI_LE_Set_Scan_Parameters_Command.ACTIVE_SCANNING
        # Request and response can both be lost.
        if active and advertiser.scannable and not self.radio.lost() and not self.radio.lost():
            self._report(advertiser, _Type.SCAN_RSP, advertiser.scan_response_data, rssi)

    def _report(self, advertiser: Advertiser, kind: int, data: bytes, rssi: int) -> None:
        if self.filter_duplicates:
            # Controllers compare address and kind only: that is why hosts that need every change
            # scan without the filter.
            seen = (bytes(advertiser.address), kind)
            if seen in self._reported:
                return
            self._reported.add(seen)
        address = advertiser.address
        report = _Report(
            event_type=kind,
            address_type=address.address_type,
            address=address,
            data=data,
            rssi=rssi,
        )
        self.send_hci_packet(hci.HCI_LE_Advertising_Report_Event([report]))

    # --- connections --------------------------------------------------------------------------

    def on_delivered(self, end: End) -> None:
        """A data packet of ours was received: its buffer is free again."""
        self.send_hci_packet(
            hci.HCI_Number_Of_Completed_Packets_Event(
                connection_handles=[end.handle], num_completed_packets=[1]
            )
        )

    def on_data(self, end: End, packet: Data) -> None:
        """A data packet of the peer arrived."""
        boundary = 2 if packet.first else 1
        self.send_hci_packet(
            hci.HCI_AclDataPacket(end.handle, boundary, 0, len(packet.data), packet.data)
        )

    @override
    def on_le_disconnected(self, connection: Connection, reason: int) -> None:
        if self.le_connections.get(connection.peer_address) is connection:
            super().on_le_disconnected(connection, reason)

    # --- HCI commands -------------------------------------------------------------------------

    @override
    def on_hci_reset_command(
        self, _command: hci.HCI_Reset_Command
    ) -> hci.HCI_StatusReturnParameters:
        self._drop_links()
        self._stop()
        return _OK

    @override
    def on_hci_write_local_name_command(
        self, command: hci.HCI_Write_Local_Name_Command
    ) -> hci.HCI_StatusReturnParameters:
        result = super().on_hci_write_local_name_command(command)
        if self.local_name:
            self.name = self.local_name
            self.radio.reach_changed()
            self.on_rename()
        return result

    @override
    def on_hci_le_set_scan_parameters_command(
        self, command: hci.HCI_LE_Set_Scan_Parameters_Command
    ) -> hci.HCI_StatusReturnParameters:
        result = super().on_hci_le_set_scan_parameters_command(command)
        if result.status == hci.HCI_ErrorCode.SUCCESS:
            self._scan_share = min(1.0, command.le_scan_window / max(1, command.le_scan_interval))
        return result

    @override
    def on_hci_le_set_scan_enable_command(
        self, command: hci.HCI_LE_Set_Scan_Enable_Command
    ) -> hci.HCI_StatusReturnParameters:
        result = super().on_hci_le_set_scan_enable_command(command)
        self._reported.clear()
        self._listen()
        return result

    @override
    def on_hci_le_create_connection_command(
        self, command: hci.HCI_LE_Create_Connection_Command
    ) -> None:
        super().on_hci_le_create_connection_command(command)
        self._listen()

    @override
    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        pending = self.pending_le_connection
        if pending is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        self.pending_le_connection = None
        self._listen()
        asyncio.get_running_loop().call_soon(self._report_cancelled, pending.peer_address)
        return _OK

    def _report_cancelled(self, peer: hci.Address) -> None:
        """Bumble's own controller never says this, so its hosts wait for ever."""
        self.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=peer.address_type,
                peer_address=peer,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            )
        )

    @override
    def on_hci_disconnect_command(self, command: hci.HCI_Disconnect_Command) -> None:
        end = self.find_le_connection_by_handle(command.connection_handle)
        if not isinstance(end, End):
            super().on_hci_disconnect_command(command)
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        end.send_ll_control_pdu(ll.TerminateInd(command.reason))

    @override
    def on_hci_le_connection_update_command(
        self, command: hci.HCI_LE_Connection_Update_Command
    ) -> None:
        end = self.find_le_connection_by_handle(command.connection_handle)
        if not isinstance(end, End):
            super().on_hci_le_connection_update_command(command)
            return
        self._send_hci_command_status(hci.HCI_COMMAND_STATUS_PENDING, command.op_code)
        end.send_ll_control_pdu(
            ll.ConnectionUpdateInd(
                interval=command.connection_interval_max,
                latency=command.max_latency,
                timeout=command.supervision_timeout,
            )
        )
