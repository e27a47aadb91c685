"""What is read of a folder, and what of a commit's tree: the same files, and nothing through a link."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from smartxd.errors import SourceError
from smartxd.source import files as source_files
from smartxd.source import folder
from smartxd.spec.document import FILE_BYTES_MAX, Unreadable, parse


def message(files: dict[str, bytes | Unreadable], path: Path) -> str:
    content = files[str(path)]
    assert isinstance(content, Unreadable)
    (finding,) = parse(str(path), content)[1]
    assert str(finding) == f"{path}:1:1: {content.message} [SX001]"
    return content.message


def test_a_link_named_as_specs_stands_for_a_finding_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "inside.txt").write_text("x: 1")
    links = {"a.yaml": "/etc/passwd", "b.yml": "inside.txt", "c.yaml": "nowhere", "d.yaml": "."}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    files = folder.read(tmp_path)
    assert {Path(name).name for name in files} == set(links)
    for name, target in links.items():
        assert f"a symbolic link, to {target};" in message(files, tmp_path / name)


def test_a_link_to_a_folder_stands_for_a_finding_and_any_other_link_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.yaml").write_text("x: 1")
    (tmp_path / "again").symlink_to("site")
    (tmp_path / "README").symlink_to("site/a.yaml")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / ".hidden").symlink_to("site")
    files = folder.read(tmp_path)
    assert set(files) == {str(tmp_path / "site" / "a.yaml"), str(tmp_path / "again")}
    assert "put the folder itself here" in message(files, tmp_path / "again")


def test_the_target_of_a_link_cannot_make_a_second_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("x\n::error::" + "y" * 200)
    text = message(folder.read(tmp_path), tmp_path / "a.yaml")
    assert text.isprintable()
    assert len(text) < 160


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.yaml").write_text("x: 1")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "one").symlink_to("real/a.yaml")
    assert folder.read(tmp_path / "link") == {str(tmp_path / "link" / "a.yaml"): b"x: 1"}
    assert folder.read(tmp_path / "one") == {str(tmp_path / "one"): b"x: 1"}


def test_what_is_no_regular_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "b.yaml"))
        files = folder.read(tmp_path)
    assert "not a regular file" in message(files, tmp_path / "a.yaml")
    assert "not a regular file" in message(files, tmp_path / "b.yaml")
    with pytest.raises(SourceError, match="no such folder or file"):
        folder.read(tmp_path / "a.yaml")


def test_a_file_that_vanishes_is_said(tmp_path: Path) -> None:
    assert folder._content(tmp_path / "a.yaml") == Unreadable("cannot be read: No such file or directory")


def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "a.yaml").write_text("x: 1")
    for path in (tmp_path / "a.yaml", tmp_path / "shut"):
        path.chmod(0)
    if not os.geteuid():  # root reads everything: the same reading, as nobody
        tmp_path.chmod(0o755)
        child = os.fork()
        if child == 0:
            _exit_as_nobody(tmp_path)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    else:
        assert _denied(tmp_path)
    (tmp_path / "shut").chmod(0o755)


def _exit_as_nobody(path: Path) -> None:
    status = 1
    try:
        os.chdir(path)
        os.setuid(65534)
        status = not _denied(Path())
    finally:
        os._exit(status)


def _denied(path: Path) -> bool:
    files = folder.read(path)
    return files == {
        str(path / "a.yaml"): Unreadable("cannot be read: Permission denied"),
        str(path / "shut"): Unreadable("the folder cannot be read: Permission denied"),
    }


def test_of_a_huge_file_only_so_much_is_read_as_shows_it(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("wb") as stream:
        stream.truncate(100 << 20)
    content = folder.read(tmp_path)[str(tmp_path / "a.yaml")]
    assert isinstance(content, bytes)
    assert len(content) == FILE_BYTES_MAX + 1


def test_more_than_a_repo_of_specs_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes(b"#" * (1 << 19))
    monkeypatch.setattr(source_files, "REPO_BYTES_MAX", 1 << 20)
    assert len(folder.read(tmp_path)) == 2
    (tmp_path / "c.yaml").write_text("#")
    with pytest.raises(SourceError, match="more than 1 MiB of spec files"):
        folder.read(tmp_path)
    monkeypatch.setattr(source_files, "FILES_MAX", 1)
    with pytest.raises(SourceError, match="more than 1 spec files"):
        folder.read(tmp_path)


def test_hidden_files_and_repos_inside_are_passed_over(tmp_path: Path) -> None:
    for name in (".ci/a.yaml", ".gitlab-ci.yml", "sub/.git/x", "sub/a.yaml", "site/a.yaml"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x: 1")
    assert set(folder.read(tmp_path)) == {str(tmp_path / "site" / "a.yaml")}


def test_a_folder_without_specs_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no spec files"):
        folder.read(tmp_path)
    with pytest.raises(SourceError, match="no such folder or file"):
        folder.read(tmp_path / "none")
