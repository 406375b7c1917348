"""What several tests share."""

import pytest

pytest.register_assert_rewrite("helpers.parity")  # so that a failed assert in it shows its values
