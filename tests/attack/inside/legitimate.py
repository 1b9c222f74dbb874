"""What task code does every day. Each function ends in ``"done"`` or raises."""

import fcntl
import mmap
import multiprocessing
import multiprocessing.shared_memory
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path


def files_in(folder):
    """Make, write, append, rename, link, change, remove; folders as well."""
    place = Path(folder) / f"work-{os.getpid()}"
    (place / "a" / "b").mkdir(parents=True)
    file = place / "a" / "file"
    file.write_text("one")
    with file.open("a") as opened:
        opened.write("two")
        fcntl.flock(opened, fcntl.LOCK_EX)
    file.rename(place / "a" / "b" / "moved")
    os.link(place / "a" / "b" / "moved", place / "linked")
    (place / "symlink").symlink_to("linked")
    (place / "symlink").chmod(0o600)
    os.truncate(place / "linked", 3)
    os.mkfifo(place / "fifo")
    assert (place / "symlink").read_text() == "one"
    for each in (place / "symlink", place / "linked", place / "fifo", place / "a" / "b" / "moved"):
        each.unlink()
    for each in (place / "a" / "b", place / "a", place):
        each.rmdir()
    return "done"


def between_folders(one, other):
    source, goal = Path(one) / "crossing", Path(other) / "crossed"
    source.write_text("x")
    source.rename(goal)
    goal.unlink()
    return "done"


def models_anywhere(path):
    return Path(path).read_text() and "done"


def devices():
    Path("/dev/null").write_text("x")
    assert len(os.urandom(8)) == 8
    assert Path("/dev/zero").open("rb").read(4) == b"\0" * 4
    shm = Path(f"/dev/shm/work-{os.getpid()}")
    shm.write_text("x")
    shm.unlink()
    controller, terminal = os.openpty()
    os.write(terminal, b"x")
    os.close(controller)
    os.close(terminal)
    return "done"


def _double(number):
    return 2 * number


def processes():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_double, range(4)) == [0, 2, 4, 6]
    with multiprocessing.get_context("fork").Manager() as manager:
        shared = manager.dict(a=1)
        assert shared["a"] == 1
    memory = multiprocessing.shared_memory.SharedMemory(create=True, size=64)
    memory.close()
    memory.unlink()
    return "done"


def threads():
    found = []
    running = [threading.Thread(target=found.append, args=(n,)) for n in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
    return "done"


def programs():
    assert subprocess.run(["sh", "-c", "echo $((1+1))"], capture_output=True, check=True).stdout == b"2\n"
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    os.kill(child.pid, signal.SIGSTOP)
    os.kill(child.pid, signal.SIGCONT)
    for _ in range(1_000):
        # Empty until the kernel has come so far with the program.
        if Path(f"/proc/{child.pid}/environ").read_bytes():
            break
        time.sleep(0.01)
    else:
        raise AssertionError("its environment is empty")
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    return "done"


def own_program():
    """A program that the task made itself."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        program.write_text("#!/bin/sh\nexit 7\n")
        program.chmod(0o755)
        assert subprocess.run([program], check=False).returncode == 7
    return "done"


def sockets(port):
    with socket.create_connection(("127.0.0.1", port), 10):
        pass
    assert socket.getaddrinfo("localhost", 80)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0work-{os.getpid()}")
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"\0work-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(folder + "/socket")
    return "done"


def system():
    """What libraries look at and set of themselves."""
    for path in (
        "/proc/self/status",
        "/proc/self/maps",
        "/proc/self/environ",
        "/proc/cpuinfo",
        "/proc/meminfo",
    ):
        assert Path(path).read_bytes()
    assert os.listdir("/sys/devices/system/cpu")
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE, (soft, hard))
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)
    os.nice(0)
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.close()
    descriptor = os.memfd_create("work")
    os.close(descriptor)
    received = []
    signal.signal(signal.SIGUSR2, lambda *_: received.append(1))
    os.kill(os.getpid(), signal.SIGUSR2)
    assert received
    return "done"


def listing(folder):
    return os.listdir(folder) and "done"


def install():
    """A package into its own folder, by uv where it is there, else by pip."""
    wheel = Path("canary-1.0-py3-none-any.whl").absolute()
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("canary.py", "VALUE = 75\n")
        file.writestr("canary-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: canary\nVersion: 1.0\n")
        file.writestr(
            "canary-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("canary-1.0.dist-info/RECORD", "")
    command = [
        "uv",
        "pip",
        "install",
        "--python",
        sys.executable,
        "--no-index",
        "--target",
        os.path.abspath("lib"),
        str(wheel),
    ]
    # Elsewhere, since uv looks for a project in every folder above.
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tempfile.gettempdir())
    assert done.returncode == 0, done.stderr
    sys.path.insert(0, "lib")
    import canary

    assert canary.VALUE == 75
    return "done"


def home():
    cache = Path.home() / ".cache" / "work"
    cache.mkdir(parents=True, exist_ok=True)
    return files_in(cache)


def temporary():
    return files_in(tempfile.gettempdir())


def git(folder):
    place = Path(folder) / f"repository-{os.getpid()}"
    subprocess.run(["git", "init", "-q", place], check=True, capture_output=True)
    subprocess.run(["rm", "-rf", place], check=True)
    return "done"
