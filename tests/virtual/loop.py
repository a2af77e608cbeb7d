"""An event loop whose time stands still while anything real goes on, and jumps to the next timer when all merely wait.

How it knows that all merely wait, exactly and whatever else the machine does:

- Callbacks are ready: something goes on. That is the loop's own list.
- Bytes are on their way: :mod:`tests.virtual.network` carries them in pairs of Unix sockets, where they are in the
  receiver's queue before the sender's call returns. So a `select` without patience that finds nothing proves that
  nothing travels; a TCP socket on loopback would prove nothing on a busy machine.
- A worker thread works: it is counted from the moment the loop hands the job out until its result is back on the
  loop. A thread that waits by :meth:`VirtualLoop.wait_for_event` or :meth:`VirtualLoop.wait_for_bytes` is taken out of
  the count by the loop itself, together with the timer that ends the wait, and is counted again before it is woken.
  One that waits for a :class:`VirtualLock` is counted again by whoever hands the lock over.

What the emulator delays on purpose is a timer of this loop, because the emulator runs on it too.
"""

import asyncio
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.virtual.jumping import JumpingLoop
from tests.virtual.network import Network

if TYPE_CHECKING:
    import pytest


class _Waiter:
    """A thread that waits until its event is set, its bytes are there, or its time is over."""

    def __init__(self, *, counted: bool) -> None:
        self.counted = counted
        self.asleep = False
        self.over = False
        self.woken = threading.Event()
        self.in_time = False
        self.timer: asyncio.TimerHandle | None = None


class VirtualLoop(JumpingLoop):
    """See the module. `working` is how many threads do something real just now."""

    def __init__(self) -> None:
        super().__init__()
        self._count = threading.Lock()
        self._here = threading.local()
        self._event_waiters: dict[threading.Event, list[_Waiter]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._loop_thread = threading.current_thread()
        self.working = 0
        self.network = Network(self)

    def close(self) -> None:
        """As every loop."""
        super().close()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _run_once(self) -> None:
        self._loop_thread = threading.current_thread()
        if not self._inside._ready:
            self._inside._process_events(self._inside._selector.select(0))
        super()._run_once()

    def _jump(self) -> None:
        with self._count:
            if self.working:
                return
        super()._jump()

    # Worker threads

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        """As every loop, and counts the job until its result is back here."""
        if executor is None:
            self._pool = executor = self._pool or ThreadPoolExecutor(thread_name_prefix="virtual")
        self._change(1)
        job: Future[Any] = executor.submit(self._counted, func, args)
        result = asyncio.wrap_future(job, loop=self)
        # The second callback of the job: the loop gets the result first, and then the word that the thread is idle.
        job.add_done_callback(lambda _: self._call_if_open(self._change, -1))
        return result

    def _counted(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self._here.counted = True
        try:
            return func(*args)
        finally:
            self._here.counted = False

    def _change(self, by: int) -> None:
        with self._count:
            self.working += by

    def _call_if_open(self, callback: Callable[..., None], *args: Any) -> None:
        if not self.is_closed():
            self.call_soon_threadsafe(callback, *args)

    # Threads that wait

    def adopt_locks(self, monkeypatch: "pytest.MonkeyPatch", package: str) -> None:
        """Lets every lock that a package makes from now on be one that this loop knows."""
        for name, module in list(sys.modules.items()):
            if name.startswith(f"{package}.") and getattr(module, "Lock", None) is threading.Lock:
                monkeypatch.setattr(module, "Lock", lambda: VirtualLock(self))

    def wait_for_event(self, event: threading.Event, seconds: float) -> bool:
        """Waits on a thread until the event is set, at most so long in virtual time; True if it is set."""
        waiter = self._waiter()
        self._notice(event)
        with self._count:
            if event.is_set():
                return True
            self._event_waiters[event].append(waiter)
        self._call_if_open(self._fall_asleep, waiter, seconds)
        waiter.woken.wait()
        with self._count:
            if waiter in self._event_waiters[event]:
                self._event_waiters[event].remove(waiter)
        return event.is_set()

    def wait_for_bytes(self, fd: int, seconds: float | None) -> None:
        """Waits on a thread until a socket can be read.

        Raises:
            TimeoutError: it could not be read within so long in virtual time.
        """
        if _readable(fd):
            return
        waiter = self._waiter()
        self.call_soon_threadsafe(self._watch, waiter, fd, seconds)
        waiter.woken.wait()
        if not waiter.in_time:
            raise TimeoutError("timed out")

    def _waiter(self) -> _Waiter:
        if threading.current_thread() is self._loop_thread:
            raise RuntimeError("the loop's own thread would wait for itself")
        return _Waiter(counted=getattr(self._here, "counted", False))

    def _watch(self, waiter: _Waiter, fd: int, seconds: float | None) -> None:
        def readable() -> None:
            self.remove_reader(fd)
            waiter.in_time = True
            self._wake(waiter)

        def too_late() -> None:
            self.remove_reader(fd)
            self._wake(waiter)

        self.add_reader(fd, readable)
        self._fall_asleep(waiter, seconds, too_late)

    def _fall_asleep(self, waiter: _Waiter, seconds: float | None, too_late: Callable[[], None] | None = None) -> None:
        with self._count:
            if waiter.over:
                return
            waiter.asleep = True
            self.working -= waiter.counted
        if seconds is not None:
            waiter.timer = self.call_later(seconds, too_late or (lambda: self._wake(waiter)))

    def _wake(self, waiter: _Waiter) -> None:
        """On any thread: the sleeper is counted before it can go on."""
        with self._count:
            if waiter.over:
                return
            waiter.over = True
            if waiter.asleep:
                self.working += waiter.counted
        if waiter.timer is not None:
            self._call_if_open(waiter.timer.cancel)
        waiter.woken.set()

    def _notice(self, event: threading.Event) -> None:
        """From now on setting this event wakes those who wait for it here."""
        with self._count:
            if event in self._event_waiters:
                return
            self._event_waiters[event] = []
        original = event.set

        def set_and_wake() -> None:
            original()
            with self._count:
                waiters, self._event_waiters[event] = self._event_waiters[event], []
            for waiter in waiters:
                self._wake(waiter)

        event.set = set_and_wake  # type: ignore[method-assign]

    # The network

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """As every loop; to whom listens on its network, there."""
        if options.get("sock") is None and (end := self.network.dial(host, port)) is not None:
            end.setblocking(False)
            options = {name: value for name, value in options.items() if name in ("ssl", "server_hostname")}
            if options.get("ssl") and "server_hostname" not in options:
                options["server_hostname"] = host
            return await super().create_connection(protocol_factory, sock=end, **options)
        return await super().create_connection(protocol_factory, host, port, **options)

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:  # type: ignore[override]
        """As every loop; the network's own names lead to loopback."""
        known = self.network.resolve(host, port)
        return known if known is not None else await super().getaddrinfo(host, port, **options)


class VirtualLock:
    """A lock whose waiting threads are not taken for working ones; they get it in the order in which they came."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._held = False
        self._queue: deque[_Waiter] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As a threading.Lock; a time-out is not known here, because nobody asks for one."""
        assert timeout == -1
        with self._loop._count:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            waiter = self._loop._waiter()
            self._queue.append(waiter)
            self._loop.working -= waiter.counted
        self._loop._call_if_open(int)  # it may be all that the loop was waiting for
        waiter.woken.wait()
        return True

    def release(self) -> None:
        """As a threading.Lock."""
        with self._loop._count:
            waiter = self._queue.popleft() if self._queue else None
            self._held = waiter is not None
            if waiter is not None:
                self._loop.working += waiter.counted
        if waiter is not None:
            waiter.woken.set()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
