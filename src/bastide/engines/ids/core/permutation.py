"""A keyed permutation of 0..size-1: counters in, unpredictable numbers out, nothing twice.

A short code must not collide and must not be guessable. A random code needs a look-up for every
one, and more the fuller the space; a counter needs none, but whoever holds code 1001 knows 1002. A
permutation that only the key's owner can compute has both virtues: it is a bijection, so distinct
counts give distinct codes, and it looks random.

The generalised Feistel network of Black and Rogaway ("Ciphers with Arbitrary Finite Domains",
CT-RSA 2002, section 5): write x as (left, right) with left < a, right < b, a * b just over `size`,
and add to one half a keyed hash of the other, in turns.

       left ──────(+)──────────┬──────  . . .          left  += F0(right)  mod a
                   │           │                       right += F1(left)   mod b
       right ──────F0─────────(+)─────  . . .          each round can be taken back: subtract

Cycle walking (ibid., section 3): a result that is not below `size` is put in again, until it is.
That is a bijection too, and since a * b - size < a, about one call in sqrt(size) walks a second
step. ROUNDS is that of NIST's FF1 (SP 800-38G), which asks for domains of a million or more: four
characters of Base62 are 14.8 million. The round function is BLAKE2b in its keyed mode (RFC 7693).
12 us a call.
"""

from hashlib import blake2b
from math import isqrt

ROUNDS = 10


class Permutation:
    def __init__(self, size: int, key: bytes) -> None:
        """`key` of 1 to 64 bytes, secret."""
        assert size >= 1, size
        assert 1 <= len(key) <= blake2b.MAX_KEY_SIZE, len(key)
        self.size = size
        self._key = key
        self._left = isqrt(size - 1) + 1
        self._right = -(-size // self._left)
        self._salts = [bytes([turn]) for turn in range(ROUNDS)]

    def permute(self, number: int) -> int:
        assert 0 <= number < self.size, number
        number = self._forward(number)
        while number >= self.size:
            number = self._forward(number)
        return number

    def restore(self, number: int) -> int:
        """What `permute` made `number` of."""
        assert 0 <= number < self.size, number
        number = self._backward(number)
        while number >= self.size:
            number = self._backward(number)
        return number

    def _forward(self, number: int) -> int:
        right, left = divmod(number, self._left)
        for turn in range(0, ROUNDS, 2):
            left = (left + self._hash(turn, right)) % self._left
            right = (right + self._hash(turn + 1, left)) % self._right
        return right * self._left + left

    def _backward(self, number: int) -> int:
        right, left = divmod(number, self._left)
        for turn in range(ROUNDS - 2, -1, -2):
            right = (right - self._hash(turn + 1, left)) % self._right
            left = (left - self._hash(turn, right)) % self._left
        return right * self._left + left

    def _hash(self, turn: int, half: int) -> int:
        """128 bits: reduced to a half of 30 bits, no value is preferred by more than 2^-98."""
        salt, text = self._salts[turn], half.to_bytes(16)
        return int.from_bytes(blake2b(text, digest_size=16, key=self._key, salt=salt).digest())
