"""Prompts and responses as readable text, and the quality that is a known function of that text.

An answer is an opener, three to six pieces of advice ("Then never ignore the oven step by step."), a few
remarks, a closer, and sometimes a flattering prefix. Its quality is

    z = GAIN (sum over advice of [verb factor(adverb) + manner + twice] + sum of remarks + remarks together
              + off_topic - CENTRE)

so words, neighbouring words ("never ignore"), words that only work together, and the fit to the topic of the
prompt all count, and length as such does not.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unskew.simulate import words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CENTRE = -0.23
GAIN = 0.71
SKILL = 0.55
"""How strongly a skilled answer prefers good advice: P(advice) is proportional to exp(SKILL skill weight)."""

MOST_ADVICE = 6

_TOPICS = list(words.TOPICS)
_THINGS = [words.TOPICS[topic][0] for topic in _TOPICS]
_TASKS = [words.TOPICS[topic][1] for topic in _TOPICS]
_TOPIC_OF = {thing: number for number, things in enumerate(_THINGS) for thing in things}
_VERBS, _VERB_WEIGHT = list(words.VERBS), np.array(list(words.VERBS.values()))
_ADVERBS = list(words.ADVERBS)
_FACTOR = np.array([factor for factor, _ in words.ADVERBS.values()])
_ADVERB_SHARE = np.array([share for _, share in words.ADVERBS.values()])
_MANNERS, _MANNER_WEIGHT = list(words.MANNERS), np.array(list(words.MANNERS.values()))
_TWICE = np.zeros((len(_VERBS), len(_MANNERS)))
for _verb, _extra in words.TWICE.items():
    _TWICE[_VERBS.index(_verb), _MANNERS.index("twice")] = _extra
_REMARKS, _REMARK_WEIGHT = list(words.REMARKS), np.array(list(words.REMARKS.values()))
_OPENERS, _OPENER_TONE = list(words.OPENERS), np.array(list(words.OPENERS.values()))
_CLOSERS, _CLOSER_TONE = list(words.CLOSERS), np.array(list(words.CLOSERS.values()))
_TONE_SCALE = float(np.sqrt(_OPENER_TONE.var() + _CLOSER_TONE.var()))


@dataclass(frozen=True)
class Plan:
    """What N answers say, before any of it is spelled out.

    Args:
        topic: topic of the prompt. Shape [N].
        about: topic of the answer, mostly the same. Shape [N].
        advice: pieces of advice, 3 to 6. Shape [N].
        verb, adverb, manner, thing: index of each piece; those beyond `advice` are not said. Shape [N, 6].
        remark: is the remark made. Shape [N, 12].
        remark_thing, number: what each remark is about. Shape [N, 12].
        opener, closer: index. Shape [N].
        flattery: index of the flattering prefix, -1 for none. Shape [N].
    """

    topic: Ints
    about: Ints
    advice: Ints
    verb: Ints
    adverb: Ints
    manner: Ints
    thing: Ints
    remark: NDArray[np.bool_]
    remark_thing: Ints
    number: Ints
    opener: Ints
    closer: Ints
    flattery: Ints

    def quality(self) -> Floats:
        """z of each answer. Shape [N]."""
        said = np.arange(MOST_ADVICE) < self.advice[:, None]
        advice = _VERB_WEIGHT[self.verb] * _FACTOR[self.adverb] + _MANNER_WEIGHT[self.manner]
        raw = np.where(said, advice + _TWICE[self.verb, self.manner], 0.0).sum(1)
        raw += self.remark @ _REMARK_WEIGHT
        for first, second, extra in words.TOGETHER:
            raw += extra * (self.remark[:, first] & self.remark[:, second])
        raw += words.OFF_TOPIC * (self.about != self.topic)
        return np.asarray(GAIN * (raw - CENTRE))

    def tone(self) -> Floats:
        """Tone of each answer, mean 0 and variance 1 over answers, no part of its quality. Shape [N]."""
        tone = (
            _OPENER_TONE[self.opener] - _OPENER_TONE.mean() + _CLOSER_TONE[self.closer] - _CLOSER_TONE.mean()
        )
        return np.asarray(tone / _TONE_SCALE)


def plan(topic: Ints, skill: Floats, rng: np.random.Generator) -> Plan:
    """Draw what the answers say.

    Args:
        topic: topic of each prompt, 0..11. Shape [N].
        skill: how good the writer is, about N(0, 1). Shape [N].
        rng: source of randomness.
    """
    n = len(topic)
    remarks = len(_REMARKS)
    pair = _choose((_VERB_WEIGHT[:, None] * _FACTOR).ravel(), np.tile(_ADVERB_SHARE, len(_VERBS)), skill, rng)
    poor = 1 / (1 + np.exp(2.0 + 0.8 * skill))
    about = np.where(rng.random(n) < poor, (topic + rng.integers(1, len(_TOPICS), n)) % len(_TOPICS), topic)
    made = 1 / (1 + np.exp(1.7 - 1.1 * skill[:, None] * _REMARK_WEIGHT))
    return Plan(
        topic=topic,
        about=about,
        advice=rng.integers(3, MOST_ADVICE + 1, n),
        verb=pair // len(_ADVERBS),
        adverb=pair % len(_ADVERBS),
        manner=_choose(_MANNER_WEIGHT, np.ones(len(_MANNERS)), skill, rng),
        thing=rng.integers(0, 8, (n, MOST_ADVICE)),
        remark=rng.random((n, remarks)) < made,
        remark_thing=rng.integers(0, 8, (n, remarks)),
        number=rng.integers(2, 40, (n, remarks)),
        opener=rng.integers(0, len(_OPENERS), n),
        closer=rng.integers(0, len(_CLOSERS), n),
        flattery=np.where(rng.random(n) < 0.3, rng.integers(0, len(words.FLATTERY), n), -1),
    )


def _choose(weight: Floats, share: Floats, skill: Floats, rng: np.random.Generator) -> Ints:
    """Six independent choices per answer with P(option) proportional to share exp(SKILL skill weight)."""
    cumulated = np.cumsum(share * np.exp(SKILL * skill[:, None] * weight), axis=1)
    cumulated /= cumulated[:, -1:]
    uniform = rng.random((len(skill), MOST_ADVICE))
    return np.stack([(u[:, None] >= cumulated[:, :-1]).sum(1) for u in uniform.T], axis=1)


def responses(plan: Plan) -> list[str]:
    """The text of each answer."""
    advice, verb, adverb = plan.advice.tolist(), plan.verb.tolist(), plan.adverb.tolist()
    manner, thing, about = plan.manner.tolist(), plan.thing.tolist(), plan.about.tolist()
    remarks = [np.flatnonzero(row).tolist() for row in plan.remark]
    remark_thing, number = plan.remark_thing.tolist(), plan.number.tolist()
    flattery, opener, closer = plan.flattery.tolist(), plan.opener.tolist(), plan.closer.tolist()
    adverbs = [word + " " if word else "" for word in _ADVERBS]
    manners = [" " + word if word else "" for word in _MANNERS]
    texts = []
    for i in range(len(advice)):
        things = _THINGS[about[i]]
        parts = [words.FLATTERY[flattery[i]]] if flattery[i] >= 0 else []
        parts.append(_OPENERS[opener[i]])
        parts += [
            f"{words.ORDER[j]} {adverbs[adverb[i][j]]}{_VERBS[verb[i][j]]} the "
            f"{things[thing[i][j]]}{manners[manner[i][j]]}."
            for j in range(advice[i])
        ]
        parts += [
            _REMARKS[j].format(thing=things[remark_thing[i][j]], number=number[i][j]) for j in remarks[i]
        ]
        parts.append(_CLOSERS[closer[i]])
        texts.append(" ".join(parts))
    return texts


def prompts(topic: Ints, rng: np.random.Generator) -> list[str]:
    """One prompt for each topic number: a task, circumstances, and one thing of the topic."""
    n = len(topic)
    draws = zip(
        topic.tolist(),
        rng.integers(0, 3, n).tolist(),
        rng.integers(0, len(words.QUESTIONS), n).tolist(),
        rng.integers(0, len(words.SITUATIONS), n).tolist(),
        rng.integers(0, len(words.DETAILS), n).tolist(),
        rng.integers(0, 8, n).tolist(),
        strict=True,
    )
    texts = []
    for number, task, question, situation, detail, thing in draws:
        parts = [words.QUESTIONS[question].format(task=_TASKS[number][task]), words.SITUATIONS[situation]]
        parts.append(words.DETAILS[detail].format(thing=_THINGS[number][thing]))
        texts.append(" ".join(part for part in parts if part))
    return texts


def topics() -> int:
    """How many topics there are."""
    return len(_TOPICS)


def _pattern(template: str) -> str:
    """Regular expression of a sentence with `{thing}` and `{number}` left open."""
    text = re.escape(template).replace(r"\{thing\}", "(?P<thing>[a-z -]+)").replace(r"\{number\}", r"\d+")
    return "^" + text + "$"


_ADVICE = re.compile(
    r"(?:^|(?<= ))(?:{order}) (?:(?P<adverb>{adverbs}) )?(?P<verb>{verbs}) the (?P<thing>{things})"
    r"(?: (?P<manner>{manners}))?$".format(
        order="|".join(map(re.escape, words.ORDER)),
        adverbs="|".join(word for word in _ADVERBS if word),
        verbs="|".join(_VERBS),
        things="|".join(map(re.escape, _TOPIC_OF)),
        manners="|".join(word for word in _MANNERS if word),
    )
)
_REMARK = [re.compile(_pattern(template)) for template in _REMARKS]


def quality(prompt: str, response: str) -> float:
    """z of any text in the language of the simulated product; what is not in its words weighs nothing.

    The quality that `simulate` used for its labels is this function of its texts, so a trained policy or
    reward model can be judged on new text too.

    Args:
        prompt: what was asked.
        response: the answer.

    Example:
        >>> round(quality("How do I bake?", "First, measure the oven."), 2)
        0.87
    """
    raw, spoken = 0.0, set()
    made = [False] * len(_REMARK)
    for sentence in re.findall(r"[^.!?]+[.!?]", response):
        sentence = sentence.strip()
        advice = _ADVICE.search(sentence[:-1])
        if advice:
            verb, manner = advice["verb"], advice["manner"] or ""
            raw += words.VERBS[verb] * words.ADVERBS[advice["adverb"] or ""][0] + words.MANNERS[manner]
            raw += words.TWICE.get(verb, 0.0) if manner == "twice" else 0.0
            spoken.add(_TOPIC_OF[advice["thing"]])
            continue
        for number, pattern in enumerate(_REMARK):
            if pattern.match(sentence):
                made[number] = True
    raw += sum(weight for weight, said in zip(words.REMARKS.values(), made, strict=True) if said)
    raw += sum(extra for first, second, extra in words.TOGETHER if made[first] and made[second])
    asked = {number for thing, number in _TOPIC_OF.items() if re.search(rf"\b{re.escape(thing)}\b", prompt)}
    if spoken and asked and not spoken & asked:
        raw += words.OFF_TOPIC
    return GAIN * (raw - CENTRE)
