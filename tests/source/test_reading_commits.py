"""Specs of a commit's tree, of the box's mirror and of the operator's own working copy; real repos."""

from __future__ import annotations

import subprocess
from pathlib import Path

import git
import pytest

from smartxd.errors import SourceError
from smartxd.source import files as source_files
from smartxd.source import folder, tree
from smartxd.source.checkout import Checkout
from smartxd.spec.document import Content, Unreadable
from tests.source.conftest import Origin

LINKS = {
    "a.yaml": "/etc/passwd",
    "site/b.yml": "../x.yaml",
    "again": "site",
    "site/up": "..",
    "twice": "again",
    "round": "round",
    "README": "site/x.yaml",
    "out": "../../..",
    ".hidden": "site",
}
REFUSED = {"a.yaml", "site/b.yml", "again", "site/up", "twice"}


@pytest.fixture
def linked(origin: Origin) -> Origin:
    origin.commit({"x.yaml": "x: 1", "site/x.yaml": "x: 2", ".gitlab-ci.yml": "x: 3"})
    for name, target in LINKS.items():
        (origin.path / name).symlink_to(target)
    return origin


def read_tree(origin: Origin, commit: str, path: str = ".") -> dict[str, Content]:
    with git.Repo(origin.path) as repo:
        root = repo.commit(commit).tree
        item = tree.find(root, path)
        assert item is not None
        return tree.read(root, item)


def test_links_of_a_commit_stand_for_findings_and_are_not_followed(linked: Origin) -> None:
    files = read_tree(linked, linked.commit({}))
    unreadable = {name: c.message for name, c in files.items() if isinstance(c, Unreadable)}
    assert set(unreadable) == REFUSED
    assert all(f"a symbolic link, to {LINKS[name]};" in text for name, text in unreadable.items())
    assert {name: c for name, c in files.items() if name not in REFUSED} == {
        "x.yaml": b"x: 1",
        "site/x.yaml": b"x: 2",
    }


def test_what_a_folder_shows_is_what_its_commit_shows(linked: Origin) -> None:
    commit = linked.commit({})
    (linked.path / "out").unlink()  # where it leads depends on the machine
    expected = {str(linked.path / name): content for name, content in read_tree(linked, commit).items()}
    assert folder.read(linked.path) == expected


def test_submodules_are_passed_over(origin: Origin, tmp_path: Path) -> None:
    other = Origin(tmp_path / "other")
    other.commit({"b.yaml": "x: 1"})
    origin.commit({"a.yaml": "x: 1"})
    origin.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path), "sub")
    assert set(read_tree(origin, origin.commit({}))) == {"a.yaml"}
    assert set(folder.read(origin.path)) == {str(origin.path / "a.yaml")}


def test_few_objects_that_make_endless_paths_are_refused(origin: Origin) -> None:
    origin.commit({"a.txt": "x"})
    name = origin.git("rev-parse", "HEAD^{tree}")
    for _ in range(8):
        rows = "".join(f"040000 tree {name}\td{i}\n" for i in range(10))
        done = subprocess.run(
            ["git", "-C", str(origin.path), "mktree"], input=rows, check=True, capture_output=True, text=True
        )
        name = done.stdout.strip()
    commit = origin.git("commit-tree", "-m", "bomb", name)
    with pytest.raises(SourceError, match=f"more than {tree.ENTRIES_MAX} files and folders"):
        read_tree(origin, commit)


def test_more_bytes_than_a_repo_of_specs_has_are_refused(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = origin.commit({f"{i}.yaml": "#" * 1000 for i in range(3)})
    monkeypatch.setattr(source_files, "REPO_BYTES_MAX", 3000)
    assert len(read_tree(origin, commit)) == 3
    monkeypatch.setattr(source_files, "REPO_BYTES_MAX", 2999)
    with pytest.raises(SourceError, match="of spec files"):
        read_tree(origin, commit)


@pytest.mark.parametrize("path", [".", "specs", "specs/", "specs/../specs", "specs/site/a.yaml", "link"])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_files_of_a_commit_are_named_as_those_of_the_folder(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, path: str, absolute: bool
) -> None:
    (origin.path / "link").symlink_to("specs")
    commit = origin.commit({"specs/site/a.yaml": "x: 1", "specs/b.yaml": "x: 2"})
    monkeypatch.chdir(origin.path)
    given = origin.path / path if absolute else Path(path)
    with Checkout.around(given) as checkout:
        assert checkout.resolve("main") == commit
        assert checkout.files(commit) == folder.read(given)


def test_uncommitted_work_is_not_in_the_commit(origin: Origin) -> None:
    first = origin.commit({"specs/a.yaml": "x: 1"})
    second = origin.commit({"specs/a.yaml": "x: 2"})
    (origin.path / "specs" / "a.yaml").write_text("x: 3")
    with Checkout.around(origin.path / "specs") as checkout:
        assert checkout.resolve("HEAD~1") == first
        assert checkout.resolve(second[:8]) == second
        key = str(origin.path / "specs" / "a.yaml")
        assert checkout.files(first) == {key: b"x: 1"}
        assert checkout.files(second) == {key: b"x: 2"}


def test_a_commit_without_the_path_has_no_files(origin: Origin) -> None:
    before = origin.commit({"README": "x"})
    origin.commit({"specs/a.yaml": "x: 1"})
    with Checkout.around(origin.path / "specs") as checkout:
        assert checkout.files(before) == {}


def test_a_linked_worktree_is_read_as_any_other(origin: Origin, tmp_path: Path) -> None:
    commit = origin.commit({"a.yaml": "x: 1"})
    origin.git("worktree", "add", "-q", str(tmp_path / "tree"))
    with Checkout.around(tmp_path / "tree") as checkout:
        assert checkout.files(checkout.resolve("HEAD")) == folder.read(tmp_path / "tree")
        assert checkout.resolve("HEAD") == commit


@pytest.mark.parametrize(
    "rev",
    ["none", "-h", "--all", "--help", "^HEAD", "HEAD^{tree}", "HEAD..HEAD", "", "a\0b", "x\n", "0" * 40],
)
def test_a_revision_that_is_none_is_said(origin: Origin, rev: str) -> None:
    origin.commit({"a.yaml": "x: 1"})
    with Checkout.around(origin.path) as checkout, pytest.raises(SourceError) as caught:
        checkout.resolve(rev)
    assert "no such revision" in caught.value.message
    assert caught.value.message.isprintable()


def test_a_branch_whose_name_looks_like_an_option_is_resolved(origin: Origin) -> None:
    commit = origin.commit({"a.yaml": "x: 1"})
    origin.git("update-ref", "refs/heads/--all", commit)
    with Checkout.around(origin.path) as checkout:
        assert checkout.resolve("--all") == commit


def test_a_shallow_clone_without_the_base_says_how_to_get_it(origin: Origin, tmp_path: Path) -> None:
    base = origin.commit({"a.yaml": "x: 1"})
    origin.commit({"a.yaml": "x: 2"})
    origin.git("clone", "-q", "--depth=1", f"file://{origin.path}", str(tmp_path / "shallow"))
    with Checkout.around(tmp_path / "shallow") as checkout:
        for rev in (base, "HEAD~1"):
            with pytest.raises(SourceError) as caught:
                checkout.resolve(rev)
            assert "git fetch --unshallow, or fetch-depth: 0 in CI" in caught.value.hint
        assert checkout.files(checkout.resolve("HEAD")) == folder.read(tmp_path / "shallow")


def test_objects_that_a_partial_clone_lacks_are_not_fetched(origin: Origin, tmp_path: Path) -> None:
    base = origin.commit({"a.yaml": "x: 1"})
    origin.commit({"a.yaml": "x: 2"})
    origin.git("config", "uploadpack.allowFilter", "true")
    origin.git("clone", "-q", "--filter=blob:none", f"file://{origin.path}", str(tmp_path / "part"))
    with Checkout.around(tmp_path / "part") as checkout:
        with pytest.raises(SourceError, match="cannot be read") as caught:
            checkout.files(checkout.resolve(base))
        assert "partial clone" in caught.value.hint


def test_a_path_outside_of_any_repo_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="in no working copy of a Git repo") as caught:
        Checkout.around(tmp_path)
    assert "clone" in caught.value.hint
    with pytest.raises(SourceError, match="no such folder or file"):
        Checkout.around(tmp_path / "none")


def test_a_repo_of_another_user_says_how_to_trust_it(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    origin.commit({"a.yaml": "x: 1"})
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SourceError, match="belongs to another user") as caught:
        Checkout.around(origin.path)
    assert caught.value.hint.endswith(f"git config --global --add safe.directory {origin.path}")
