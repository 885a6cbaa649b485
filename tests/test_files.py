"""atomic_write: a file is there whole or not at all, and what goes wrong is one line; sweep: what the killed left."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from unshrink.errors import ImageError, UnshrinkError, WeightsError
from unshrink.files import atomic_write, sweep


def put(path, content=b"new", **options):
    with atomic_write(path, **options) as stream:
        stream.write(content)


def put_while_another_appears(path):
    with atomic_write(path) as stream:
        stream.write(b"new")
        path.write_bytes(b"somebody else's")


def put_half(path):
    with atomic_write(path) as stream:
        stream.write(b"half")
        raise RuntimeError("mine")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_the_file_and_nothing_else(tmp_path):
    put(tmp_path / "a.bin", b"x" * 100_000)
    assert (tmp_path / "a.bin").read_bytes() == b"x" * 100_000
    assert names(tmp_path) == ["a.bin"]


def test_the_name_appears_only_at_the_end(tmp_path):
    with atomic_write(tmp_path / "a.bin") as stream:
        stream.write(b"half")
        stream.flush()
        assert "a.bin" not in names(tmp_path)
    assert names(tmp_path) == ["a.bin"]


def test_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.bin"
    put(path, b"old")
    with pytest.raises(UnshrinkError, match="`overwrite`"):
        put(path)
    assert path.read_bytes() == b"old"
    put(path, overwrite=True)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(UnshrinkError, match="exists already"):
        put_while_another_appears(path)
    assert path.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("appears", [False, True])
def test_file_systems_without_hard_links(tmp_path, monkeypatch, appears):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.bin"
    if appears:
        with pytest.raises(UnshrinkError, match="exists already"):
            put_while_another_appears(path)
        assert path.read_bytes() == b"somebody else's"
    else:
        put(path)
        assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


def test_an_error_in_the_block_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="mine"):
        put_half(tmp_path / "a.bin")
    assert names(tmp_path) == []


def test_disk_full_on_fsync(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"a\.bin: the disk is full; free some space"):
        put(path, overwrite=True, error=WeightsError)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_disk_full_on_write(tmp_path, monkeypatch):
    """The real error of a real full device, raised by the write and again by the closing of the stream."""
    real = os.open
    full = lambda path, flags, mode=0o777: (real(path, flags, mode), real("/dev/full", os.O_WRONLY))[1]
    monkeypatch.setattr(os, "open", full)
    for size in (1, 1_000_000):
        with pytest.raises(ImageError, match="the disk is full"):
            put(tmp_path / "a.bin", b"x" * size, error=ImageError)
        assert names(tmp_path) == []


def test_missing_folder(tmp_path):
    with pytest.raises(UnshrinkError, match="folder does not exist; create it"):
        put(tmp_path / "none" / "a.bin")
    assert names(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", os.mkdir)])
def test_folders_and_devices_are_not_replaced(tmp_path, make, overwrite):
    make(tmp_path / "a.bin")
    kind = (tmp_path / "a.bin").stat().st_mode
    with pytest.raises(UnshrinkError, match="folder or a device"):
        put(tmp_path / "a.bin", overwrite=overwrite)
    assert (tmp_path / "a.bin").stat().st_mode == kind
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_no_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UnshrinkError, match="no permission"):
        put(tmp_path / "a.bin")


def test_no_permission_reported_by_the_system(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UnshrinkError, match="no permission to write there"):
        put(tmp_path / "a.bin")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_permissions_are_those_of_any_new_file_and_links_are_followed(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    put(tmp_path / "a.bin")
    mode = lambda name: stat.S_IMODE((tmp_path / name).stat().st_mode)
    assert mode("a.bin") == mode("plain")
    (tmp_path / "link").symlink_to("a.bin")
    put(tmp_path / "link", b"through", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.bin").read_bytes() == b"through"


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_to_nowhere_are_not_followed(tmp_path, overwrite):
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("link", "loop"):
        with pytest.raises(UnshrinkError, match="leads nowhere; remove it"):
            put(tmp_path / name, overwrite=overwrite)
    assert names(tmp_path) == ["link", "loop"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o200])
def test_a_file_that_replaces_another_has_its_permissions(tmp_path, mode):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_write(path, overwrite=True) as stream:
        stream.write(b"new")
        part = next(tmp_path.glob(".unshrink-*.part"))
        assert stat.S_IMODE(part.stat().st_mode) == mode, "nobody else reads what is written yet"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_replaces_another_has_its_owner(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o660)
    os.chown(path, 1234, 5678)
    put(path, overwrite=True)
    facts = path.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (1234, 5678, 0o660)
    monkeypatch.setattr(os, "fchown", lambda *_: os.close(-1))  # an OSError, as for everybody else
    put(path, overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "another group gets nothing"


@pytest.fixture
def open_umask():
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize(
    ("mode", "wanted"), [(0o600, 0o600), (0o400, 0o600), (0o640, 0o640), (0o644, 0o644), (0o777, 0o664), (0o604, 0o604)]
)
def test_a_new_file_gives_no_more_rights_than_its_origin(tmp_path, mode, wanted, open_umask):
    origin, path = tmp_path / "a.bin", tmp_path / "b.bin"
    origin.write_bytes(b"")
    origin.chmod(mode)
    with atomic_write(path, origin=origin) as stream:
        stream.write(b"new")
        part = next(tmp_path.glob(".unshrink-*.part"))
        assert stat.S_IMODE(part.stat().st_mode) == wanted, "nor before it has its name"
    assert stat.S_IMODE(path.stat().st_mode) == wanted
    path.chmod(0o660)
    with atomic_write(path, overwrite=True, origin=origin):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o660, "what is replaced says it"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("mode", "wanted"), [(0o640, 0o600), (0o664, 0o644), (0o644, 0o644)])
def test_rights_of_the_group_are_for_no_other_group(tmp_path, mode, wanted, open_umask):
    origin, path = tmp_path / "a.bin", tmp_path / "b.bin"
    origin.write_bytes(b"")
    origin.chmod(mode)
    os.chown(origin, -1, 5678)
    with atomic_write(path, origin=origin):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == wanted


@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_a_write_protected_file_is_kept(tmp_path, mode):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(mode)
    with pytest.raises(UnshrinkError, match="write-protected; choose another name"):
        put(path, overwrite=True)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_where_nobody_can_hold_a_file_nothing_is_swept(tmp_path, monkeypatch):
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with atomic_write(tmp_path / "a.bin") as stream:
        sweep(tmp_path)
        stream.write(b"new")
    assert names(tmp_path) == ["a.bin"]


def test_longest_name(tmp_path):
    put(tmp_path / ("n" * 255))
    with pytest.raises(UnshrinkError, match="too long"):
        put(tmp_path / ("n" * 256))
    assert len(names(tmp_path)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_what_killed_writers_left_is_swept_and_what_is_being_written_stays(tmp_path):
    code = (
        "import os, signal, sys; from unshrink.files import atomic_write\n"
        "with atomic_write(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "killed"])
    assert len(names(tmp_path)) == 1
    (tmp_path / ".unshrink-notes.txt").touch()
    with atomic_write(tmp_path / "a.bin") as stream:
        sweep(tmp_path)
        stream.write(b"new")
    assert names(tmp_path) == [".unshrink-notes.txt", "a.bin"]
    sweep(tmp_path / "none")


def test_a_new_file_swept_before_it_is_held_is_made_again(tmp_path, monkeypatch):
    calls = []

    def hold(descriptor):
        calls.append(descriptor)
        if len(calls) == 1:
            next(tmp_path.glob(".unshrink-*.part")).unlink()
        return True

    monkeypatch.setattr("unshrink.files.hold", hold)
    put(tmp_path / "a.bin")
    assert len(calls) == 2
    assert names(tmp_path) == ["a.bin"]


def test_a_signal_in_the_moment_of_creation_leaves_nothing(tmp_path, monkeypatch):
    def ended(descriptor):
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("unshrink.files.hold", ended)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
