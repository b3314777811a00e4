"""An event loop of triune's own, for coroutines of parts that are used without one."""

from __future__ import annotations

import asyncio
import threading

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def background() -> asyncio.AbstractEventLoop:
    """The loop; its thread is started on first use."""
    global _loop, _thread
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="triune-loop", daemon=True)
            _thread.start()
        return _loop


def end() -> None:
    """Ends the thread, for a second at most: inside triune's native code it would not outlive the interpreter."""
    with _lock:
        if _loop is not None and _thread is not None and _thread.is_alive():
            _loop.call_soon_threadsafe(_loop.stop)
            _thread.join(1)
