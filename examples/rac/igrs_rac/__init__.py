"""A remote access client (RAC): follows and operates locks of a home through its server, which can read none of it.

```python
memory = Memory.load(Path("rac.json"))      # made by Memory.begin(path, read_link(link), name="Ben")
async with RemoteClient(memory) as client:  # joins or goes on, then connects
    await client.connected()
    done = await client.unlock(device)      # returns only when the lock itself has said so
```

docs/remote-client.md is its description. It needs aiohttp, cryptography, and ILP1's client side, which it takes from the
checkout (`custom_components/igrs_lock/ilp`): that part needs no Home Assistant.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("ilp") is None:
    sys.path.append(str(Path(__file__).resolve().parents[3] / "custom_components/igrs_lock"))

from .client import RemoteClient
from .connected import RemoteLock
from .conversation import Conversation, Done
from .errors import (
    JoinPendingError,
    LockRefusedError,
    NotSentError,
    RacError,
    ServerSaysError,
    UnconfirmedError,
)
from .keys import LockKeys
from .links import InvitationLink, read_link
from .memory import Memory
from .state import StateTracker, Verdict, View, Why
from .wire import CloseCode, Status

__all__ = [
    "CloseCode",
    "Conversation",
    "Done",
    "InvitationLink",
    "JoinPendingError",
    "LockKeys",
    "LockRefusedError",
    "Memory",
    "NotSentError",
    "RacError",
    "RemoteClient",
    "RemoteLock",
    "ServerSaysError",
    "StateTracker",
    "Status",
    "UnconfirmedError",
    "Verdict",
    "View",
    "Why",
    "read_link",
]
