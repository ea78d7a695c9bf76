"""Run a notebook where no network exists: `python cut_network.py NOTEBOOK`. Prints how the network was cut; exit status 0 when every cell ran.

On Linux the process moves into a network namespace of its own, where only a loopback interface exists (the Jupyter kernel needs it); as root, or
through a user namespace. Elsewhere, or where that is forbidden, every Python process started from here refuses sockets that leave this machine.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
import tempfile
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

REFUSE_SOCKETS = """
import socket
_connect, _lookup = socket.socket.connect, socket.getaddrinfo
def _local(host):
    return host in (None, "", "localhost", "127.0.0.1", "::1")
def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not _local(address[0]):
        raise OSError(101, "Network is unreachable (refused by the test)")
    return _connect(self, address)
def getaddrinfo(host, *rest, **options):
    if not _local(host):
        raise socket.gaierror(-3, "Temporary failure in name resolution (refused by the test)")
    return _lookup(host, *rest, **options)
socket.socket.connect, socket.getaddrinfo = connect, getaddrinfo
"""


def own_namespace() -> bool:
    """Move this process into an empty network namespace with loopback up; False where the machine does not allow it.

    A child tries first: a process that has entered and may not raise loopback there could not go back.
    """
    if not sys.platform.startswith("linux"):
        return False
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if _enter() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0 and _enter()


def _enter() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0 and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(control, SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))
    return True


def refuse_sockets() -> None:
    """Make this process and all Python processes that it starts refuse to leave the machine."""
    folder = tempfile.mkdtemp(prefix="cut-network-")
    Path(folder, "sitecustomize.py").write_text(REFUSE_SOCKETS, encoding="utf-8")
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    sys.path.insert(0, folder)
    sys.modules.pop("sitecustomize", None)
    __import__("sitecustomize")


def outside_is_reachable() -> bool:
    """Whether a packet finds a way to an address outside (one reserved for documentation), or a name can be looked up."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(3)
        try:
            probe.connect(("192.0.2.1", 80))
        except TimeoutError:
            return True  # there is a route: the packet left
        except OSError:
            return False
    return True


def main(notebook: Path, way: str) -> None:
    """Cut the network, prove it, run the notebook."""
    if way == "refuse" or not own_namespace():
        refuse_sockets()
        print("network: sockets refused")
    else:
        print("network: own namespace")
    if outside_is_reachable():
        raise SystemExit("the network is not cut: the test proves nothing")
    from llmsuite_lab.course.execution import execute

    run = execute(notebook)
    for cell in run.notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                print(output.text, end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
