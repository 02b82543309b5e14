"""Every sentence of errors, gate and verification has its Chinese, and is found again whatever it says."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from raised_texts import FILLED, raised, warned

from sonic_ext import messages
from sonic_ext.app import html
from sonic_ext.app.access import FOREIGN
from sonic_ext.app.asgi import refuse
from sonic_ext.cli.console import language
from sonic_ext.cli.main import main
from sonic_ext.engines.sonic.registration import INSTALL
from sonic_ext.errors import BadOutput, Cancelled
from sonic_ext.provenance.c2pa import Signature, TimeStamp
from sonic_ext.provenance.consent import Consent
from sonic_ext.provenance.metadata import AigcLabel
from sonic_ext.provenance.verdict import Verdict
from sonic_ext.provenance.verify import Labels, LedgerMatch, Mark, Verification
from sonic_ext.settings import describe

COMPOSED = {
    "error.message",
    "error.hint",
    "problem.message",
    "card.message",
    "card.hint",
    "host.hint",
    "other_latents",
    "broken",
    "message",
    "spec.help",
    "' '.join(rollbacks)",
}
"""What errors are made of that is a sentence of the catalogue itself, from elsewhere."""
OPEN = {
    "Use {}.",
    "{}={} is not {}.",
    "{} (after {})",
    "Consent for the {} is missing.",
    "{} is no basis for using a {}.",
}
"""Templates that say too little to be lines: `test_what_is_filled_in` has their fillings."""
CHOSEN = {
    "The face looks too {}: the picture seems squashed.": ("narrow", "wide"),
    "Where the mouth should be is guessed from the mouth; place both by hand.": (),
    "Where the eyes should be is guessed from the eyes; place both by hand.": (),
}
"""Templates of warnings that the source does not tell apart, with what they are filled with."""


def _filled(template: str) -> str:
    """A template as a text: with a word that no catalogue has in every place."""
    text = template
    for number in range(template.count(FILLED)):
        text = text.replace(FILLED, f"‹{number}›", 1)
    return text.replace("{{", "{").replace("}}", "}")


def _says_something(template: str) -> bool:
    """Whether there are words in it, and not only what is filled in."""
    return template not in OPEN and bool(re.search("[A-Za-z]{3}", template.replace(FILLED, "")))


def test_what_is_filled_in() -> None:
    expected = {spec.expected for spec in describe().values()} - {"text"}
    texts = [form.format(each) for each in expected for form in ("Use {}.", "x=1 is not {}.")]
    texts += [f"Consent for the {part} is missing." for part in ("face", "voice", "second face")]
    texts += [f"'x' is no basis for using a {part}." for part in ("face", "voice")]
    texts += ["x=1 is not text.", f"Bring it with: x (after {INSTALL})"]
    assert [text for text in texts if messages.translated("zh", text) is None] == []


def test_every_error_has_its_chinese() -> None:
    told = list(raised())
    assert len(told) > 600
    unknown = {
        (each.where, each.source) for each in told if not each.template and each.source not in COMPOSED
    }
    assert unknown == set(), "tests/raised_texts.py cannot read these"
    lacking = {
        (each.where, each.template)
        for each in told
        if each.template and _says_something(each.template)
        if messages.translated("zh", _filled(each.template)) is None
    }
    assert sorted(lacking) == [], "a line in sonic_ext/messages/zh.json for each of these"


def test_every_warning_has_its_chinese() -> None:
    told = list(warned())
    assert {each.where.partition(":")[0] for each in told} > {
        "media/audio.py",
        "media/face.py",
        "settings.py",
    }
    assert len(told) > 120
    assert all(
        messages.translated("zh", text.format(word)) for text, words in CHOSEN.items() for word in words
    )
    whole = {_filled(text) for text in (*messages.read("zh"), *CHOSEN)}
    lacking = {
        (each.where, sentence)
        for each in told
        if (text := _filled(each.template)) not in whole
        for sentence in re.split(r"(?<=[.?!]) (?=[A-Z])", text)
        if sentence not in whole and messages.translated("zh", sentence) is None
    }
    assert sorted(lacking) == [], "a line in sonic_ext/messages/zh.json for each of these"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("The sound has 6 channels; they are mixed down.", "声音有 6 个声道；各声道已混合。"),
        (
            "Warning: The face looks too wide: the picture seems squashed. Give it back its aspect ratio.",
            "警告：人脸显得太宽：图片似乎被压扁了。请恢复其原有的宽高比。",
        ),
        (
            "Check them in the preview, or place mouth and eyes by hand (settings mouth and eyes).",
            "请在预览中检查，或请手动指定嘴和眼睛（设置 mouth 和 eyes）。",
        ),
    ],
)
def test_warnings_are_found_again(english: str, chinese: str) -> None:
    assert messages.translated("zh", english) == chinese


def test_the_catalogue_is_whole() -> None:
    field = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")
    text = Path(messages.__file__).with_name("zh.json").read_text(encoding="utf-8")
    pairs = json.loads(text, object_pairs_hook=list)
    keys = [field.sub("{}", english) for english, _ in pairs]
    assert [key for key in keys if keys.count(key) > 1] == [], "one sentence, whatever its names are called"
    for english, chinese in pairs:
        if english in (messages.NAME, messages.BETWEEN_SENTENCES, messages.BETWEEN_REASONS):
            continue
        if "{" in english:  # or it would be found in any text
            assert len(re.sub(r"[^A-Za-z]|(?<!\{)\{\w+\}(?!\})", "", english)) >= 6, english
        assert sorted(field.findall(english)) == sorted(field.findall(chinese)), english
        assert re.search("[\u4e00-\u9fff]", chinese) or english == chinese or "{" in english, english


def test_settings_say_the_same_as_on_the_page(root: Path) -> None:
    """Their sentences are hints of errors, too."""
    shown = json.loads((root / "localizations" / "zh_CN.json").read_text(encoding="utf-8"))
    for spec in describe().values():
        assert messages.translated("zh", spec.help) == shown[spec.help]


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("out.mp3 does not end in .mp4.", "out.mp3 的后缀不是 .mp4。"),
        ("a.mp4 cannot be written: No space left on device.", "无法写入 a.mp4：磁盘空间不足。"),
        ("a.mp4 cannot be written: Odd.", "无法写入 a.mp4：Odd。"),
        ("fps=9 is not a whole number from 10 to 60.", "fps=9 不是 10 至 60 的整数。"),
        ("There is no setting 'fsp'. Did you mean fps?", "没有设置 'fsp'。您是否想写 fps？"),
        (
            "Row 2 of the consent ledger is missing. Row 4 of the consent ledger was altered or moved.",
            "同意账本缺少第 2 行。同意账本的第 4 行被改动或移动了。",
        ),
        ("text is a folder.", "text 是文件夹。"),
        ('Send it as {"name": value}.', '请以 {"name": value} 的形式发送。'),
    ],
)
def test_messages_are_found_again(english: str, chinese: str) -> None:
    assert messages.translated("zh", english) == chinese


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nothing that anybody says.",
        "Add a picture of nobody.",
        "no such",
        "x" * 100_000,
        " ( " * 1000,
    ],
)
def test_what_is_not_in_it(text: str) -> None:
    assert messages.translated("zh", text) is None
    with messages.speaking("zh"):
        assert messages.said(text) == text


def test_english_is_spoken_unless_told() -> None:
    sentences = ("Stopped as asked.", "Nothing was exported.")
    assert messages.joined(*sentences, "") == "Stopped as asked. Nothing was exported."
    with messages.speaking("zh"):
        assert messages.joined(*sentences, "") == "已按要求停止。没有导出任何内容。"
    assert messages.said(sentences[0]) == sentences[0]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "SONIC_LANGUAGE": "en"}, "en"),
        ({"SONIC_LANGUAGE": "zh"}, "zh"),
    ],
)
def test_the_language_of_a_command_line(environment: dict[str, str], language: str) -> None:
    assert messages.of_environment(environment) == language


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de, zh;q=0.5, en;q=0.4", "zh"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=1.1.1, *", "en"),
        ("*", "en"),
    ],
)
def test_the_language_of_a_request(accepted: str, language: str) -> None:
    assert messages.of_header(accepted) == language


def _verifications() -> Iterator[Verification]:
    """Every verdict, and every way to it that has words of its own."""
    ours = {"watermark": "0123456789abcdef", "signer": "Ada, sonic_ext 9", "consent_sha256": "ab"}
    mark = Mark("0123456789abcdef", "local.sonic.watermark.2", 1e-9, 1)
    times = {"begins": "2026-01-01T00:00:00+00:00", "ends": "2026-02-01T00:00:00+00:00"}
    stamps = (
        None,
        TimeStamp("2026-01-02T00:00:00+00:00", "Clock Ltd", True),
        TimeStamp("2026-01-02T00:00:00+00:00", "", False),
    )
    signatures = [
        Signature("absent"),
        *(Signature(state, problems=("a.b", "c.d"), **ours) for state in ("altered", "damaged")),
        Signature("altered"),
        *(Signature("valid", trust, readable=False, **ours) for trust in ("own", "trusted", "unknown")),
        Signature("valid", "own", **{**ours, "watermark": "f" * 16}, source_type="x"),
        Signature("valid", "unknown", signer="Camera 9"),
        Signature("untimely", "unknown", signer="Camera 9", **times),
        *(Signature("untimely", trust, time_stamp=stamp, **ours, **times)
          for trust in ("own", "unknown") for stamp in stamps),
        Signature("untimely", "own", **ours, begins="2999-01-01T00:00:00+00:00", ends="2999-02-01"),
        Signature("untimely", "own", **ours),
    ]  # fmt: skip
    label = AigcLabel({"ProduceID": "0123456789abcdef", "ReservedCode1": "sonic_ext"}, ("it is not JSON",))
    labels = (
        Labels(),
        Labels(sought=False),
        Labels(label, "y"),
        Labels(comment="Sonic version: 9, Sonic preview: yes"),
    )
    marks = (mark, Mark(frames=25), Mark(frames=0, note="a.mp4 is damaged."))
    homes = (
        LedgerMatch(),
        LedgerMatch(outdated=True),
        LedgerMatch(problem="The consent ledger cannot be read: Odd."),
    )
    for signature, found, label_found, home in itertools.product(signatures, marks, labels, homes):
        yield Verification(Path("a.mp4"), "ab" * 32, signature, found, label_found, home)


def test_every_verification_has_its_chinese() -> None:
    seen: set[str] = set()
    verdicts = set()
    for found in _verifications():
        verdicts.add(found.verdict)
        seen |= {found.summary, found.hint, *found.notes, *found.contradictions}
        seen |= {name for name, _ in found.rows if name != "SHA-256"}
        seen |= {
            value
            for name, value in found.rows
            if name in ("Signature", "Time stamp", "Watermark", "Consent record")
        }
    assert verdicts == set(Verdict)
    seen |= {verdict.meaning for verdict in Verdict}
    seen |= set(Consent(face="authorised", voice="estate").warnings())
    translated = {text: messages.translated("zh", text) for text in seen - {""}}
    assert [text for text, chinese in translated.items() if chinese is None] == []
    # besides names, codes and commands, nothing is left in English
    left = {
        text: chinese
        for text, chinese in translated.items()
        if re.search(r"[a-z]+ [a-z]+ [a-z]+", str(chinese))
    }
    assert left == {}


def test_a_verification_speaks_chinese() -> None:
    found = Verification(Path("a.mp4"), "ab" * 32, Signature("absent"), Mark(frames=25), Labels())
    english = found.lines()
    with messages.speaking("zh"):
        lines = found.lines()
    assert lines[0] == "没有找到本工具的标记。" and lines[1].split() == ["签名:", "无"]
    assert found.lines() == english and found.to_dict()["summary"] == "No mark of this tool was found."


def test_the_page_holds_both() -> None:
    told = html.error(BadOutput("a.mp3 does not end in .mp4.", "Give a name such as <b>."))
    assert '<strong><span class="sonic-said" lang="en">a.mp3 does not end in .mp4.</span>' in told
    assert '<span class="sonic-said" lang="zh" hidden>a.mp3 的后缀不是 .mp4。</span></strong>' in told
    assert '<span class="sonic-said" lang="en">Give a name such as &lt;b&gt;.</span>' in told


def test_another_language_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = {
        "(name)": "Français",
        "(between sentences)": " ",
        "(between reasons)": " ; ",
        "{name} does not end in .mp4.": "{name} ne se termine pas par .mp4.",
        "Check the path.": "Vérifiez le chemin.",
    }
    (tmp_path / "fr.json").write_text(json.dumps(catalogue), encoding="utf-8")
    caches = (messages.languages, messages.read, messages._catalogue, messages._translated)
    monkeypatch.setattr(messages, "FOLDER", tmp_path)
    try:
        for cache in caches:
            cache.cache_clear()
        assert messages.languages() == {"en": "English", "fr": "Français"}
        assert (messages.of_header("fr-CA, en;q=0.5"), messages.of_header("zh, en;q=0.5")) == ("fr", "en")
        assert messages.of_environment({"LANG": "fr_FR.UTF-8"}) == "fr"
        with messages.speaking("fr"):
            told = messages.joined("a.mp3 does not end in .mp4.", "Check the path.")
        assert told == "a.mp3 ne se termine pas par .mp4. Vérifiez le chemin."
    finally:
        for cache in caches:
            cache.cache_clear()


def test_the_command_line_speaks_chinese(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SONIC_LANGUAGE", "zh")
    assert main(["verify", "no such.mp4", "--json"]) == 2
    told = capsys.readouterr()
    assert "sonic: no such.mp4 处没有文件。请检查路径。" in told.err
    assert json.loads(told.out)["message"] == "There is no file at no such.mp4."
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert language() == "en"


def test_requests_are_answered_in_their_language() -> None:
    pytest.importorskip("fastapi", reason="the API needs fastapi")
    from sonic_ext.app.routing import answer_of, failure

    with messages.speaking(messages.of_header("zh-CN")):
        told = json.loads(bytes(answer_of(BadOutput("a.mp3 does not end in .mp4.", "Odd.")).body))
        assert failure(Cancelled())["detail"] == "已按要求停止。"
    assert told == {"error": "BadOutput", "detail": "a.mp3 的后缀不是 .mp4。", "hint": "Odd."}


def test_a_refused_request_is_answered_in_its_language() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    scope: Any = {"type": "http", "headers": [(b"accept-language", b"zh")]}
    asyncio.run(refuse(scope, receive, send, FOREIGN))
    assert json.loads(sent[1]["body"])["detail"] == "只有该页面本身可以请求此服务器。"
