"""Attacks on other processes."""

import ctypes
import os
import resource
import signal
import socket

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def _checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read().decode(errors="replace")


def _readable_address(pid):
    with open(f"/proc/{pid}/maps") as maps:
        return next(int(line.split("-")[0], 16) for line in maps if " r" in line)


def memory(pid):
    address = _readable_address(pid)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        file.seek(address)
        return len(file.read(64))


def opened_memory(pid):
    with open(f"/proc/{pid}/mem", "rb"):
        return "opened"


class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def process_vm_read(pid):
    address = _readable_address(pid)
    buffer = ctypes.create_string_buffer(64)
    ours = Piece(ctypes.addressof(buffer), 64)
    theirs = Piece(address, 64)
    return _checked(LIBC.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0))


def attach(pid):
    _checked(LIBC.ptrace(PTRACE_ATTACH, pid, None, None))
    os.waitpid(pid, 0x40000000)
    LIBC.ptrace(PTRACE_DETACH, pid, None, None)
    return "attached"


def take_descriptor(pid, number):
    pidfd = os.pidfd_open(pid)
    try:
        taken = _checked(LIBC.syscall(438, pidfd, number, 0))
    finally:
        os.close(pidfd)
    os.close(taken)
    return "taken"


def open_descriptor(pid, number):
    with open(f"/proc/{pid}/fd/{number}", "ab"):
        return "opened for writing"


def descriptors():
    """Where our own lead, but those of the three pipes."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                found[name] = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue  # the listing's own
    return found


def limit(pid):
    """Set a limit of another process to what it is."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    return limits


def send(pid, number):
    os.kill(pid, number)
    return "sent"


def freeze(pid):
    """For a moment."""
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    return "frozen"


def send_by_descriptor(pid, number):
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    return "sent"


def send_group(pid, number):
    os.killpg(os.getpgid(pid), number)
    return "sent"


def abstract_connect(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)
        return client.recv(64).decode()


def escape(disguise):
    """A grandchild with a session, a parent and an environment of its own, deaf to signals; its id.

    In ``disguise`` it has changed the limit that marks it.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reader)
            for number in (0, 1, 2):
                os.close(number)
            os.write(writer, str(os.getpid()).encode())
            os.close(writer)
            if disguise:
                resource.setrlimit(15, (7, 7))
            code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
            os.execve(os.sys.executable, [os.sys.executable, "-ISc", code], {})
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    return int(os.read(reader, 20))


def lower_mark():
    before = resource.getrlimit(15)
    resource.setrlimit(15, before)
    return "set"
