"""A log of which the truth is known, for the benches of ingestion: the same bytes for the same size and seed.

Responses of about 1.2 KB with 45 % of events on them, feedback out of order and up to a block late, 2 % of
lines delivered twice, feedback on responses that never come and feedback that comes too late.
"""

import json
import time
from pathlib import Path

START = 1_767_225_600  # 2026-01-01
SURFACES, LANGS = ("chat", "search", "mail"), ("en", "fr", "ja")
BLOCK = 20_000
COMMON = "the of to and a in is it you that was for on are with as his they be at".split()  # noqa: SIM905
ODD = ['"quoted"', "line\nbreak", "tab\t", "naïve", "日本語", "back\\slash"]
IMPRESSION = (
    '{"type":"impression","id":"r%d","request":"q%d","user":"u%d","session":"s%d","shown_at":"%s",'
    '"model":"model-%d","surface":"%s","lang":"%s","slot":0,"n_slots":1,"offered":["thumbs","copy"],'
    '"policy_prob":0.25,"prompt":"%s","response":"%s","meta":{"trace":"%x","tokens":%d}}\n'
)
THUMB = '{"type":"feedback","id":"%s%d","response":"%s%d","kind":"thumbs","value":%s,"at":"%s"}\n'
COPY = '{"type":"feedback","id":"c%d","response":"r%d","kind":"copy","at":"%s"}\n'


def generate(path: Path, gigabytes: float, seed: int = 0) -> None:
    """A log of about `gigabytes`: responses of about 1.2 KB, feedback out of order, repeats, orphans."""
    import numpy as np

    rng = np.random.default_rng(seed)
    words = np.array([*COMMON, *(f"word{i}" for i in range(3000)), *ODD])
    rank = 1 / np.arange(1, len(words) + 1)
    drawn = rng.choice(words, size=(4000, 24), p=rank / rank.sum())
    phrases = [json.dumps(" ".join(row), ensure_ascii=False)[1:-1] for row in drawn]
    later: list[str] = []
    written = first = 0
    with path.open("w", encoding="utf-8") as out:
        while written < gigabytes * 1e9:
            lines, later = later, []
            number = first + np.arange(BLOCK)
            length = np.clip(rng.lognormal(1.9, 0.6, BLOCK), 1, 60).astype(int)
            pick = rng.integers(0, len(phrases), (BLOCK, 64))
            user, model = rng.zipf(1.4, BLOCK) % 50_000, rng.integers(0, 4, BLOCK)
            surface, lang = rng.integers(0, 3, BLOCK), rng.integers(0, 3, BLOCK)
            shown = START + number * 6 + rng.integers(0, 300, BLOCK)
            odd, thumb, copied = rng.random(BLOCK), rng.random(BLOCK), rng.random(BLOCK)
            wait = 1 + rng.exponential(40_000, (BLOCK, 3)).astype(int)
            wait[odd > 0.98, 0] *= 20  # some too late
            for i, n in enumerate(number.tolist()):
                about = (
                    n,
                    n,
                    user[i],
                    n // 7,
                    stamp(shown[i]),
                    model[i],
                    SURFACES[surface[i]],
                    LANGS[lang[i]],
                )
                text = ". ".join([phrases[k] for k in pick[i, : length[i]]])
                line = IMPRESSION % (*about, phrases[pick[i, 63]], text, i, length[i] * 30)
                lines.append(line)
                if odd[i] < 0.02:  # delivered twice
                    later.append(line)
                if thumb[i] < 0.3:
                    whose = "gone" if odd[i] > 0.995 else "r"
                    up = "true" if thumb[i] < 0.2 else "false"
                    later.append(THUMB % ("f", n, whose, n, up, stamp(shown[i] + wait[i, 0])))
                    if odd[i] < 0.05:
                        later.append(later[-1])
                if thumb[i] < 0.02:  # a second thought
                    later.append(THUMB % ("g", n, "r", n, "false", stamp(shown[i] + wait[i, 1])))
                if copied[i] < 0.25:
                    lines.append(COPY % (n, n, stamp(shown[i] + wait[i, 2])))
            rng.shuffle(lines)
            written += sum(map(out.write, lines))
            first += BLOCK
        out.writelines(later)


def stamp(seconds: int) -> str:
    """RFC 3339."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
