"""An estimate on real servers: what is there is counted, a sample is read, and nothing is left behind."""

from __future__ import annotations

import json

import pytest
from support.storage.sample_store import sample_pictures

from lemmy_safety.detectors.hashes.canary import canary_png

OBJECTS = 60
SAMPLE = 20

pytestmark = [pytest.mark.external_service, pytest.mark.timeout(600)]


def check_estimate(admin, place):
    for key, data in sample_pictures(OBJECTS - 1, seed=3):
        place.put(key, data)
    place.put("01/aa/canary.png", canary_png())
    before = place.present()
    place.reads()
    # It imports torch to see whether clip can be measured, which takes minutes on a busy machine.
    told = json.loads(admin.run("estimate", "--json", "--objects", str(SAMPLE), timeout=540).stdout)
    assert (told["objects"], told["sample"]) == (OBJECTS, SAMPLE)
    measured = next(one for one in told["sets"] if one["configured"])
    assert measured["measured"] == SAMPLE
    assert 0 < measured["everything"]["low_s"] <= measured["everything"]["high_s"]
    read = place.reads()
    assert read is None or len(set(read)) == SAMPLE
    assert place.present() == before
    assert not [path for path in admin.folder.iterdir() if path.suffix == ".db"]


def test_a_bucket_is_counted_and_a_sample_of_it_is_read(admin_on_s3):
    """Each object of the sample, and no other one; the canary stays where it is."""
    admin, bucket = admin_on_s3
    check_estimate(admin, bucket)


@pytest.mark.parametrize("account", ["ssh", "sftp"])
def test_a_folder_behind_ssh_is_counted_and_a_sample_of_it_is_read(admin_on_ssh, account):
    """The same over SSH, by find and by SFTP alone."""
    admin, folder = admin_on_ssh(account)
    check_estimate(admin, folder)
