"""A real Git repo, followed: what is fetched, what is refused, what survives."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartxd.config import SourceConfig
from smartxd.errors import SourceError
from smartxd.source import gitcall
from smartxd.source.follow import Follower, Seen
from smartxd.source.repo import Repo, local_path
from smartxd.spec.document import FILE_BYTES_MAX, Content
from tests.source.conftest import Origin

BOX = """
apiVersion: smartx.io/v1alpha1
kind: Box
metadata: {name: a}
spec: {underlay: {interface: wan0, address: 192.0.2.1/24}}
"""


@pytest.fixture
def mirror(tmp_path: Path, origin: Origin) -> Iterator[Repo]:
    repo = Repo(tmp_path / "mirror.git", str(origin.path), "main", 30)
    yield repo
    repo.close()


@pytest.fixture
def follow(tmp_path: Path, origin: Origin) -> Iterator[Callable[[], queue.SimpleQueue[Seen]]]:
    followers: list[Follower] = []

    def start() -> queue.SimpleQueue[Seen]:
        seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        config = SourceConfig(url=str(origin.path), poll_interval_s=3600)
        repo = Repo(tmp_path / "mirror.git", config.url, config.branch, config.timeout_s)
        followers.append(Follower(repo, config, lambda fleet: (), seen.put))
        followers[-1].start()
        return seen

    yield start
    for follower in followers:
        follower.stop()


def test_a_fetch_brings_the_branch_and_its_files(origin: Origin, mirror: Repo) -> None:
    first = origin.commit({"site/a.yaml": BOX, "site/readme.md": "x", ".github/ci.yaml": "x"})
    assert mirror.fetch() == first
    assert mirror.files(first, ".") == {"site/a.yaml": BOX.encode()}
    assert mirror.files(first, "site") == {"site/a.yaml": BOX.encode()}
    second = origin.commit({"site/b.yaml": "x: 1"})
    assert mirror.fetch() == second
    assert set(mirror.files(second, ".")) == {"site/a.yaml", "site/b.yaml"}


def test_a_branch_that_was_rewritten_is_followed(origin: Origin, mirror: Repo) -> None:
    origin.commit({"a.yaml": "x: 1"})
    origin.commit({"a.yaml": "x: 2"})
    mirror.fetch()
    origin.git("reset", "-q", "--hard", "HEAD~1")
    other = origin.commit({"a.yaml": "x: 3"})
    assert mirror.fetch() == other
    assert mirror.files(other, ".") == {"a.yaml": b"x: 3"}


def test_of_a_huge_file_only_so_much_is_read_as_shows_it(origin: Origin, mirror: Repo) -> None:
    commit = origin.commit({"a.yaml": "#" * (FILE_BYTES_MAX * 4)})
    mirror.fetch()
    content = mirror.files(commit, ".")["a.yaml"]
    assert isinstance(content, bytes)
    assert len(content) == FILE_BYTES_MAX + 1


def test_hooks_and_filters_of_the_repo_do_not_run(origin: Origin, mirror: Repo, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    commit = origin.commit({"a.yaml": "x: 1", ".gitattributes": "*.yaml filter=evil\n"})
    for git_dir in (origin.path / ".git", tmp_path / "mirror.git"):
        for hook in ("post-checkout", "reference-transaction", "post-update"):
            (git_dir / "hooks").mkdir(exist_ok=True)
            (git_dir / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {trap}\n")
            (git_dir / "hooks" / hook).chmod(0o755)
    mirror.fetch()
    mirror.files(commit, ".")
    assert not trap.exists()


def test_a_missing_branch_is_one_line(origin: Origin, mirror: Repo) -> None:
    with pytest.raises(SourceError) as caught:
        mirror.fetch()
    assert caught.value.message.startswith(f"{origin.path}: branch main: ")
    assert "\n" not in caught.value.message


def test_a_missing_folder_is_said(origin: Origin, mirror: Repo) -> None:
    commit = origin.commit({"a.yaml": "x: 1"})
    mirror.fetch()
    with pytest.raises(SourceError, match="no folder site"):
        mirror.files(commit, "site")


@pytest.mark.parametrize(
    "url",
    [
        "http://x/y",
        "git://x/y",
        "ext::sh -c id",
        "--upload-pack=id",
        "relative/path",
        "ssh://-oProxyCommand=id",
    ],
)
def test_other_transports_are_refused(url: str) -> None:
    with pytest.raises(SourceError, match="not a URL that smartxd follows"):
        local_path(url)


@pytest.mark.parametrize(
    "url", ["https://x/y.git", "ssh://git@x/y", "git@git-server.x.org:y.git", "https://t@x/y"]
)
def test_remote_urls_are_polled(url: str) -> None:
    assert local_path(url) is None


def test_a_pinned_commit_outlives_the_branch(origin: Origin, mirror: Repo) -> None:
    good = origin.commit({"a.yaml": "x: 1"})
    mirror.fetch()
    mirror.pin(good)
    origin.commit({"a.yaml": "x: 2"})
    mirror.fetch()
    assert mirror.good() == good
    assert mirror.files(good, ".") == {"a.yaml": b"x: 1"}


def test_a_commit_to_a_local_repo_is_seen_without_polling(
    origin: Origin, follow: Callable[[], queue.SimpleQueue[Seen]]
) -> None:
    first = origin.commit({"a.yaml": BOX})
    seen = follow()
    assert seen.get(timeout=60).commit == first
    for number in range(3):
        commit = origin.commit({"a.yaml": BOX + f"# {number}\n"})
        got = seen.get(timeout=60)
        assert got.commit == commit
        assert got.fleet is not None


def test_an_invalid_commit_carries_findings_and_no_fleet(
    origin: Origin, follow: Callable[[], queue.SimpleQueue[Seen]]
) -> None:
    origin.commit({"a.yaml": BOX})
    seen = follow()
    seen.get(timeout=60)
    bad = origin.commit({"b.yaml": "kind: Bxo\n"})
    got = seen.get(timeout=60)
    assert (got.commit, got.fleet) == (bad, None)
    assert any(line.startswith("b.yaml:1:1: ") for line in got.findings)


def test_the_last_good_commit_is_read_first_when_the_repo_is_gone(
    origin: Origin, follow: Callable[[], queue.SimpleQueue[Seen]]
) -> None:
    good = origin.commit({"a.yaml": BOX})
    follow().get(timeout=60)
    origin.path.rename(origin.path.with_name("away"))
    seen = follow()
    first, second = seen.get(timeout=60), seen.get(timeout=60)
    assert (first.commit, first.fleet is not None) == (good, True)
    assert second.error


def test_a_commit_that_could_not_be_read_at_first_is_read_again(
    tmp_path: Path, origin: Origin, mirror: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = origin.commit({"a.yaml": BOX})
    read, failures = mirror.files, [SourceError("a passing fault")]

    def files(commit: str, folder: str) -> dict[str, Content]:
        if failures:
            raise failures.pop()
        return read(commit, folder)

    monkeypatch.setattr(mirror, "files", files)
    seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
    config = SourceConfig(url=str(origin.path), poll_interval_s=0.2)
    follower = Follower(mirror, config, lambda fleet: (), seen.put)
    follower.start()
    try:
        assert "a passing fault" in seen.get(timeout=60).error
        got = seen.get(timeout=60)
        assert (got.commit, got.fleet is not None) == (commit, True)
    finally:
        follower.stop()


def test_locks_of_a_git_that_was_killed_do_not_stop_the_next(tmp_path: Path, origin: Origin) -> None:
    commit = origin.commit({"a.yaml": BOX})
    repo = Repo(tmp_path / "mirror.git", str(origin.path), "main", 30)
    repo.fetch()
    repo.pin(commit)
    repo.close()
    for lock in ("refs/smartxd/good.lock", "refs/smartxd/head.lock", "shallow.lock", "packed-refs.lock"):
        (tmp_path / "mirror.git" / lock).touch()
    repo = Repo(tmp_path / "mirror.git", str(origin.path), "main", 30)
    second = origin.commit({"a.yaml": BOX + "# more\n"})
    assert repo.fetch() == second
    repo.pin(second)
    assert repo.good() == second
    repo.close()


@pytest.mark.parametrize("damaged", ["HEAD", "config", "refs/smartxd/good", "refs/smartxd/head"])
def test_a_damaged_mirror_is_mended_or_made_anew(tmp_path: Path, origin: Origin, damaged: str) -> None:
    commit = origin.commit({"a.yaml": BOX})
    repo = Repo(tmp_path / "mirror.git", str(origin.path), "main", 30)
    repo.fetch()
    repo.pin(commit)
    repo.close()
    (tmp_path / "mirror.git" / damaged).write_bytes(b"")
    repo = Repo(tmp_path / "mirror.git", str(origin.path), "main", 30)
    assert repo.good() in ("", commit)
    assert repo.fetch() == commit
    assert set(repo.files(commit, ".")) == {"a.yaml"}
    repo.close()


def test_a_repo_that_is_too_large_is_said_and_leaves_no_halves(
    tmp_path: Path, origin: Origin, mirror: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitcall, "FILE_BYTES_MAX", 1 << 20)
    (origin.path / "large.bin").write_bytes(os.urandom(3 << 20))
    origin.commit({"a.yaml": BOX})
    for _ in range(3):
        with pytest.raises(SourceError, match="larger than 1 MiB"):
            mirror.fetch()
    assert len(list((tmp_path / "mirror.git").glob("objects/pack/tmp_*"))) <= 1


def test_a_fetch_that_hangs_is_ended_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "ssh"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setitem(gitcall._ENVIRONMENT, "GIT_SSH_COMMAND", str(script))
    repo = Repo(tmp_path / "mirror.git", "git@git-server.example.net:specs.git", "main", 0.5)
    with pytest.raises(SourceError, match=r"no end within 0\.5 s"):
        repo.fetch()
    repo.close()


def test_stopping_ends_a_fetch_that_hangs_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "pid"
    script = tmp_path / "ssh"
    script.write_text(f"#!/bin/sh\necho $$ > {started}.new; mv {started}.new {started}; exec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setitem(gitcall._ENVIRONMENT, "GIT_SSH_COMMAND", str(script))
    repo = Repo(tmp_path / "mirror.git", "git@git-server.example.net:specs.git", "main", 600)
    config = SourceConfig(url="git@git-server.example.net:specs.git")
    follower = Follower(repo, config, lambda fleet: (), lambda seen: None)
    follower.start()
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(int(started.read_text()))
        follower.stop()
        assert select.select([pidfd], [], [], 60)[0], "the helper of git lives on"
        os.close(pidfd)


@pytest.mark.parametrize("what", ["file", "link", "middle"])
def test_a_folder_of_specs_that_is_none_is_said(origin: Origin, mirror: Repo, what: str) -> None:
    (origin.path / "link").symlink_to("a.yaml")
    commit = origin.commit({"a.yaml": BOX, "file": "x"})
    mirror.fetch()
    folder = {"file": "file", "link": "link", "middle": "a.yaml/specs"}[what]
    with pytest.raises(SourceError, match=f"no folder {folder}"):
        mirror.files(commit, folder)


def test_a_machine_that_is_too_slow_does_not_cost_the_last_good_commit(
    tmp_path: Path, origin: Origin, mirror: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = origin.commit({"a.yaml": BOX})
    mirror.fetch()
    mirror.pin(good)
    call = gitcall.Git.__call__

    def slow(git: gitcall.Git, *arguments: str, timeout_s: float) -> str:
        if arguments[0] == "fsck":
            raise SourceError("git fsck: no end within 10 s")
        return call(git, *arguments, timeout_s=timeout_s)

    monkeypatch.setattr(gitcall.Git, "__call__", slow)
    again = Repo(tmp_path / "mirror.git", str(origin.path), "main", 30)
    assert again.good() == good
    again.close()


def test_a_password_in_the_url_is_never_said(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "mirror.git", "https://user:secret@127.0.0.1:1/x.git", "main", 60)
    with pytest.raises(SourceError) as caught:
        repo.fetch()
    assert "secret" not in caught.value.message
    assert "https://***@127.0.0.1:1/x.git" in caught.value.message
    repo.close()
