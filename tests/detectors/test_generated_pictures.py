"""Pictures to measure with: generated, of many kinds, the same each time."""

import numpy as np
import pytest

from lemmy_safety.detectors.generated_pictures import calibration_pictures


@pytest.mark.long
def test_calibration_pictures_are_many_kinds_of_the_same_pictures_each_time():
    """Seeded, different for each seed, and from nearly flat to full contrast."""
    pictures = calibration_pictures(30, seed=1)

    assert all(picture.shape == (256, 256, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert all(map(np.array_equal, pictures, calibration_pictures(30, seed=1)))
    assert not any(map(np.array_equal, pictures, calibration_pictures(30, seed=2)))
    contrasts = [picture.std() for picture in pictures]
    assert min(contrasts) < 15
    assert max(contrasts) > 60
