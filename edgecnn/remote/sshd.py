"""An emulated board as an SSH server: a real aarch64 Linux userland with a real sshd.

It runs in namespaces of its own (mounts, processes, host name), so that nothing is mounted where
the desk could see it, and all of it is gone with its first process, however that ends. It listens
on 127.0.0.1 and takes one freshly made key. It needs root: for the mounts, for chroot, and because
sshd changes users. It is no sandbox: who logs in is root on the desk's kernel.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Self

from edgecnn import boards, files
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.onboard.runner import EMULATED_VARIABLE
from edgecnn.remote import binfmt, sysroot
from edgecnn.remote.programs import tool

HOST = "127.0.0.1"
USER = "root"
START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 10.0
_HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
_OWN_FOLDERS = ("dev", "proc", "root", "run/lock", "run/sshd", "tmp", "var/empty")

# $1: the board's root; $2: the shared system; $3: its name; $4: for binfmt_misc, or nothing.
_START = r"""
echo "$3" >/proc/sys/kernel/hostname
if [ -n "$4" ]; then
  cd /proc/sys/fs
  mount -t binfmt_misc binfmt_misc binfmt_misc
  [ -e binfmt_misc/qemu-aarch64 ] || printf '%s' "$4" >binfmt_misc/register
fi
mount --bind "$2/usr" "$1/usr"
mount -o remount,bind,ro "$1/usr"
mount -t tmpfs -o mode=0755,size=1M dev "$1/dev"
mkdir "$1/dev/shm" "$1/dev/pts"
mount -t tmpfs -o mode=1777 shm "$1/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
ln -s /proc/self/fd "$1/dev/fd"
for device in null zero full random urandom tty; do
  : >"$1/dev/$device"
  mount --bind "/dev/$device" "$1/dev/$device"
done
mount -t proc proc "$1/proc"
mount --bind "$1/board/cpuinfo" "$1/proc/cpuinfo"
exec chroot "$1" /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
"""


class EmulatedBoard:
    """A running SSH server that is an emulated board; it ends with the ``with`` block.

    ``address`` is ready for ``--device``. ``identity_file`` is the private key that it takes,
    ``known_hosts`` holds its host key, and ``ssh_config`` names both for ``ssh -F``.
    """

    def __init__(self, board_name: str, port: int = 0, folder: Path | None = None) -> None:
        """Describe the board; :meth:`start` or a ``with`` block starts it.

        ``port`` 0 takes a free one. ``folder`` keeps the board's own files from run to run (its
        host key, and what is installed there); without, they lie in the cache. Nobody but root
        should be able to write to it. Under ``sudo`` the key belongs to the user who called it.

        Raises:
            UsageError: no such board.
        """
        self.board_name, self._board = board_name, boards.get(board_name)
        self.port = port or _free_port()
        self.folder = folder or sysroot.board_folder(board_name) / "ssh"
        self.address = f"ssh://{USER}@{HOST}:{self.port}"
        self.identity_file = self.folder / "id_ed25519"
        self.known_hosts = self.folder / "known_hosts"
        self.ssh_config = self.folder / "ssh_config"
        self.root = self.folder / "root"
        self.fingerprint = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers.

        Raises:
            UnavailableError: not root, something is missing, or the server does not start.
            UsageError: the board's folder is in use by another one.
        """
        _require_root()
        system = sysroot.system()
        for program in ("unshare", "setpriv", "ssh-keygen"):
            tool(program, sysroot.INSTALL)
        registration = binfmt.registration()
        running = f"the emulated board in {self.folder} runs already."
        self._lock = files.claim(self.folder / "lock", running)
        try:
            self._make_root(system)
            self._make_keys()
            self._write_config()
            places = [str(self.root), str(system), self.board_name, registration]
            self._process = _spawn(places, self._log, self._variables())
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and everything that runs on the board."""
        process, self._process = self._process, None
        if process is not None:
            # Suppressed: it has ended by itself.
            with contextlib.suppress(ProcessLookupError):
                os.kill(_first_process(process.pid), signal.SIGKILL)
            process.wait(_END_TIMEOUT_S)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def wait(self) -> None:
        """Wait until the server ends.

        Raises:
            UnavailableError: it ended by itself.
        """
        if self._process is not None:
            self._process.wait()
            raise UnavailableError(f"the emulated board ended by itself:{self._last_words()}")

    @property
    def pid(self) -> int:
        """The desk's process that holds the board.

        Raises:
            UsageError: it does not run.
        """
        if self._process is None:
            raise UsageError("the emulated board does not run.")
        return self._process.pid

    @property
    def _log(self) -> Path:
        return self.folder / "sshd.log"

    def _make_root(self, system: Path) -> None:
        """Lay out the board's own files: a place for each mount, and what it may write to."""
        if not (self.root / "etc").is_dir():
            shutil.copytree(system / "etc", self.root / "etc", symlinks=True)
        for name in ("usr", "board", *_OWN_FOLDERS):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "tmp").chmod(0o1777)
        with contextlib.suppress(FileNotFoundError):
            # A desk without this file has no names to look up, and neither has its board.
            shutil.copyfile("/etc/resolv.conf", self.root / "etc" / "resolv.conf")
        for name in ("bin", "lib", "sbin"):
            if not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"usr/{name}")
        files = sysroot.board_files(self._board)
        sysroot.write_files(
            self.root,
            {name: text for name, text in files.items() if name.startswith("sys/")}
            | {
                "board/cpuinfo": files["proc/cpuinfo"],
                "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
                "sshd:x:105:65534::/run/sshd:/usr/sbin/nologin\n",
                "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
                "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
                "etc/hosts": f"127.0.0.1 localhost {self.board_name}\n",
                "etc/hostname": f"{self.board_name}\n",
            },
        )

    def _make_keys(self) -> None:
        self.identity_file.unlink(missing_ok=True)
        _keygen(self.identity_file)
        os.chown(self.identity_file, int(os.environ.get("SUDO_UID") or 0), -1)
        authorized = self.root / "etc" / "ssh" / "authorized_keys"
        authorized.write_bytes(self.identity_file.with_suffix(".pub").read_bytes())
        host_key = self.root / _HOST_KEY
        if not host_key.exists():
            _keygen(host_key)
        public = host_key.with_suffix(".pub")
        kind, key = public.read_text().split()[:2]
        self.known_hosts.write_text(f"[{HOST}]:{self.port} {kind} {key}\n")
        shown = _run(["ssh-keygen", "-l", "-E", "sha256", "-f", str(public)])
        self.fingerprint = shown.split()[1]

    def _write_config(self) -> None:
        variables = " ".join(f"{name}={value}" for name, value in self._variables().items())
        sysroot.write_files(self.root, {"etc/ssh/sshd_config": _sshd_config(self.port, variables)})
        self.ssh_config.write_text(
            f"Host *\n"
            f"  User {USER}\n"
            f'  IdentityFile "{self.identity_file}"\n'
            f"  IdentitiesOnly yes\n"
            f'  UserKnownHostsFile "{self.known_hosts}"\n'
            f"  GlobalKnownHostsFile none\n"
        )

    def _variables(self) -> dict[str, str]:
        return {
            EMULATED_VARIABLE: self.board_name,
            "LANG": "C.UTF-8",
            "OPENBLAS_NUM_THREADS": "1",
            "QEMU_CPU": self._board.qemu_cpu,
        }

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise UnavailableError(f"the emulated board did not start:{self._last_words()}")
            # Another server on the port would answer as well; sshd logs that it listens.
            if b"Server listening on" in self._log.read_bytes() and _greets(self.port):
                return
            time.sleep(0.1)
        raise UnavailableError(
            f"the emulated board did not answer within {START_TIMEOUT_S:.0f} s:{self._last_words()}"
        )

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return "".join(f"\n  {line}" for line in lines[-5:])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def why_not() -> str | None:
    """Return why this desk cannot run the server, or None where it can."""
    try:
        _require_root()
        for program in (sysroot.QEMU, "mmdebstrap", "unshare", "setpriv", "ssh-keygen"):
            tool(program, sysroot.INSTALL)
        binfmt.registration()
    except UnavailableError as error:
        return str(error)
    return None


def _require_root() -> None:
    if os.geteuid() != 0:
        raise UnavailableError(
            "an emulated board with SSH needs root, for mounts and chroot: run the command with "
            "`sudo`. `--device emulated:NAME` needs neither."
        )


def _spawn(arguments: list[str], log: Path, variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = [
        # However this process ends, the board ends too.
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL"),
        *("sh", "-euc", _START, "sh", *arguments),
    ]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables},
            start_new_session=True,
        )


def _first_process(unshare: int) -> int:
    """Return the first process of the board's namespace: when it dies, the kernel ends all others.

    unshare waits for it, so that nothing is left once unshare has ended.
    """
    children = Path(f"/proc/{unshare}/task/{unshare}/children")
    found = children.read_text().split() if children.exists() else []
    return int(found[0]) if found else unshare


def _sshd_config(port: int, variables: str) -> str:
    return f"""\
# Written by edgecnn at each start.
ListenAddress {HOST}:{port}
HostKey /{_HOST_KEY}
AuthorizedKeysFile /etc/ssh/authorized_keys
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding no
AllowAgentForwarding no
X11Forwarding no
UsePAM no
UseDNS no
PrintMotd no
PidFile none
LoginGraceTime 60
MaxStartups 50
Subsystem sftp internal-sftp
SetEnv {variables}
"""


def _keygen(path: Path) -> None:
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgecnn-emulated", "-f", str(path)])


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if result.returncode:
        raise UnavailableError(f"`{command[0]}` failed: {result.stderr.strip()}")
    return result.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _greets(port: int) -> bool:
    """Tell whether an SSH server answers on the port."""
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            ready, _, _ = select.select([connection], [], [], 5)
            return bool(ready) and connection.recv(4) == b"SSH-"
    except OSError:
        return False
