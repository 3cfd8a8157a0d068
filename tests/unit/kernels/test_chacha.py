"""kernels.chacha against published key streams and the worked example of the wire notes."""

import numpy as np
import pytest

from dreamdb_arrow.kernels.chacha import key_stream

# RFC 8439 appendix A.1, test vectors 1 and 2: key zero, nonce zero, blocks 0 and 1
ZERO_KEY = (
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
)


def test_published_key_stream():  # 0004-R5
    assert key_stream(bytes(32), 32).tobytes().hex() == ZERO_KEY


def test_block_two_of_another_key():
    # RFC 8439 appendix A.1, test vector 4: key 00ff00.., block 2
    key = b"\x00\xff" + bytes(30)
    expected = "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
    assert key_stream(key, 48)[32:40].tobytes().hex() == expected


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 100])
def test_a_shorter_stream_is_a_prefix(count):
    assert np.array_equal(key_stream(bytes(range(32)), count), key_stream(bytes(range(32)), 128)[:count])
