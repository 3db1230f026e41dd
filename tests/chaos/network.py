"""Hosts in network namespaces: each with its own address, name and files, joined by a bridge to this machine.

They share code and nothing else: PostgreSQL, the queue server and the provider are reached over the bridge. Root and
Linux only; everything made here goes away with ``lan``.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from app.cli.stack import PROJECT, Child
from app.embedded.identity import die_with_parent
from tests.chaos.harness import Scene, until

_HERE = 1  # the machine's own place on the bridge


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"


@dataclass(slots=True)
class Host:
    """One host. Its workers speak to their provider through a relay of the host's own."""

    lan: Lan
    name: str
    number: int
    relay: Child | None = None
    workers: list[Child] = field(default_factory=list)

    @property
    def link(self) -> str:
        """The machine's end of the cable."""
        return f"{self.lan.prefix}v{self.number}"

    def run(self, name: str, module: Sequence[str], environ: dict[str, str]) -> Child:
        """``python -m module`` there: another network, another name, an empty file system over our folders."""
        hidden = " && ".join(f"mount -t tmpfs tmpfs '{folder}'" for folder in self.lan.hidden)
        script = f'hostname {self.name} && {hidden} && cd "$0" && exec "$@"'
        command = [
            *("ip", "netns", "exec", self.name, "unshare", "--uts", "--mount", "--"),
            *("sh", "-c", script, str(PROJECT), sys.executable, "-m", *module),
        ]  # fmt: skip
        stack = self.lan.scene.stack
        log = stack.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                env={**os.environ, **stack.environ, **environ, "PYTHONPATH": str(PROJECT)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        child = Child(name, process, log)
        stack.children.append(child)
        return child

    def worker(self) -> Child:
        """A bulk worker on this host."""
        if self.relay is None:
            self.relay = self._own_relay()
        number = len(self.workers) + 1
        child = self.run(f"{self.name}-worker-{number}", ["workers.main", "bulk"], self.lan.environ)
        self.workers.append(child)
        return child

    def _own_relay(self) -> Child:
        # Plain http is for addresses of one's own machine alone: so the provider is at home here too.
        port = urlsplit(self.lan.scene.sandbox.url).port
        pair = f"127.0.0.1:{port}={self.lan.address}:{port}"
        child = self.run(f"{self.name}-relay", ["tests.chaos.relay", pair], {})
        until(lambda: "ready" in child.log.read_text() or not child.alive(), f"the relay of {self.name}")
        assert child.alive(), child.last_words()
        return child

    def bytes_to_provider(self) -> int:
        """How much this host has said to the provider; it says no more after this."""
        assert self.relay is not None
        self.relay.process.send_signal(signal.SIGTERM)
        self.relay.process.wait()
        told: dict[str, int] = json.loads(self.relay.log.read_text().splitlines()[-1])
        return sum(told.values())

    def cut_off(self) -> None:
        _ip("link", "set", self.link, "down")

    def let_back(self) -> None:
        _ip("link", "set", self.link, "up")


@dataclass(slots=True)
class Lan:
    """A bridge with hosts, and a relay from it to the servers of this machine."""

    scene: Scene
    prefix: str
    net: str
    hidden: list[Path]
    hosts: list[Host] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{self.net}.{_HERE}"

    @property
    def environ(self) -> dict[str, str]:
        """The servers' settings as a host of the bridge writes them."""
        found = {
            name: value for name, value in self.scene.stack.environ.items() if name.endswith("DATABASE_URL")
        } | {"REDIS_URL": self.scene.redis_url}
        return {name: self._over_the_bridge(url) for name, url in found.items()}

    def _over_the_bridge(self, url: str) -> str:
        parts = urlsplit(url)
        where = parts.netloc.replace("127.0.0.1", self.address)
        return urlunsplit(parts._replace(netloc=where))

    def open(self, count: int) -> None:
        bridge = f"{self.prefix}br"
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for n in range(count):
            host = Host(self, f"{self.prefix}-{'abcdefgh'[n]}", n)
            _ip("netns", "add", host.name)
            self.hosts.append(host)
            _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", host.link, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{self.net}.{10 + n}/24", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "eth0", "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
        servers = {
            self.scene.database.environ()["DATABASE_URL"],
            self.scene.redis_url,
            self.scene.sandbox.url,
        }
        ports = sorted({urlsplit(url).port for url in servers})
        pairs = [f"{self.address}:{port}=127.0.0.1:{port}" for port in ports]
        relay = self.scene.stack.run("relay", ["tests.chaos.relay", *pairs])
        until(lambda: "ready" in relay.log.read_text() or not relay.alive(), "the relay of the bridge")
        assert relay.alive(), relay.last_words()

    def close(self) -> None:
        for host in self.hosts:
            for child in (*host.workers, *([host.relay] if host.relay else [])):
                if child.alive():
                    child.kill()
            with suppress(AssertionError):
                _ip("netns", "del", host.name)
            with suppress(AssertionError):
                _ip("link", "del", host.link)
        with suppress(AssertionError):
            _ip("link", "del", f"{self.prefix}br")


@contextmanager
def lan(scene: Scene, hosts: int) -> Iterator[Lan]:
    """``hosts`` hosts on a bridge. What of our folders holds keys, data or logs is hidden from them."""
    place = secrets.randbelow(200) + 20
    hidden = [Path(os.environ["LOCAL_DIR"]).resolve(), scene.stack.folder.resolve()]
    made = Lan(scene, f"wl{secrets.token_hex(2)}", f"10.203.{place}", hidden)
    try:
        made.open(hosts)
        yield made
    finally:
        made.close()
