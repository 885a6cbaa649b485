"""Ray and a bucket; what it needs is not installed for the tests: pip install 'unshrink[ray]' localbucket."""

import sys

import pytest


def test_without_ray_the_command_that_installs_it_is_named(monkeypatch):
    from unshrink.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "unshrink.batch.cluster", raising=False)
    with pytest.raises(MissingDependencyError, match=r"pip install \"unshrink\[ray\]\""):
        import unshrink.batch.cluster  # noqa: F401


def test_a_bucket_goes_small_and_comes_back_though_a_worker_is_killed(tmp_path):
    for module in ("ray", "obstore", "localbucket"):
        pytest.importorskip(module)
    import cluster

    assert "20 done, 2 named, 1 worker killed" in cluster.check(tmp_path, 22, 2)
