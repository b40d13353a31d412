"""Promises of the playground, over plain HTTP: it answers its own page, with the model's numbers, and nobody else."""

import http.client
import json
import re
import socket
import threading

import pytest
from markupsafe import escape
from playgrounds import served
from programs import run_script, train_tiny
from run_folders import NASTY

from frontpage.analysis.pages.playground.answers import ALTERNATIVES
from frontpage.analysis.pages.playground.server import LARGEST_BODY
from frontpage.analysis.pages.web_page.render import rendered
from frontpage.models.generate import generate

JSON = {"Content-Type": "application/json"}
PROMPTS = ["", "Show HN:", "Ask HN: wh", "<b>東京 – “", "x & <eos>"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playground")
    return [train_tiny(folder / "bpe"), train_tiny(folder / "bytes", "tokenizer=bytes", "model/attention=local")]


@pytest.fixture(scope="module")
def playground(runs):
    with served(*runs) as playground:
        yield playground


@pytest.fixture
def ask(playground):
    """ask(method, path, body, headers) gives (status, headers, body) of one request."""

    def asked(method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", playground.server_port, timeout=30)
        connection.putrequest(method, path, skip_host="Host" in dict(headers))
        for name, value in dict(headers).items():
            connection.putheader(name, value)
        if body is not None and "Content-Length" not in dict(headers):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    return asked


@pytest.fixture
def events(ask):
    """events(prompt=..., ...) gives the events of an answer."""

    def asked(**settings):
        status, headers, content = ask("POST", "/continue", json.dumps(settings).encode(), JSON)
        assert (status, headers["Content-Type"]) == (200, "application/x-ndjson; charset=utf-8"), content
        return [json.loads(line) for line in content.decode().splitlines()]

    return asked


@pytest.mark.slow
def test_the_page_is_one_file_that_asks_nobody_else(ask):
    status, headers, content = ask("GET", "/")
    page = content.decode()
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert "://" not in page and "//cdn" not in page
    assert "innerHTML" not in page and "insertAdjacentHTML" not in page and "eval(" not in page  # titles contain "<"
    assert " style=" not in page and " onclick=" not in page  # what the policy below would forbid
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.slow
def test_the_page_is_told_of_the_runs(ask, runs):
    _, _, content = ask("GET", "/")
    first, second = re.findall(r"<section.*?</section>", content.decode(), re.DOTALL)
    assert f">{runs[0]}</h2>" in first and f">{runs[1]}</h2>" in second
    assert "259 kinds of tokens" in second and "blocks of 32" in second
    assert f"{json.loads((runs[0] / 'run.json').read_text())['parameters']:,} weights" in first


def test_a_runs_name_cannot_become_a_part_of_the_page():
    described = {"name": NASTY, "parameters": 1, "vocab_size": 2, "block_size": 3}
    page = rendered("playground/page.html", runs=[described], most_titles=12)
    assert escape(NASTY) in page and NASTY not in page
    assert page.count("<script") == page.count("</script") == 1


@pytest.mark.slow
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("run", [0, 1])
def test_an_answer_is_what_the_model_generates_token_by_token(events, playground, run, prompt):
    settings = {"temperature": 0.9, "top_k": 40, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.1}
    first, *steps, last = events(run=run, prompt=prompt, num=3, seed=7, **settings)
    module = playground.runs[run].module
    expected = generate(module, module.tokenizer, prompt=prompt, num=3, seed=7, heal=True, **settings)
    assert [one["title"] for one in last["titles"]] == [one.title for one in expected]
    assert [one["log_prob"] for one in last["titles"]] == pytest.approx([one.log_prob for one in expected], abs=1e-4)
    for title, one in enumerate(last["titles"]):
        tokens = first["prompt"] + [token for step in steps for token in step["tokens"] if token["title"] == title]
        text = "".join(token["text"] for token in tokens)
        assert one["title"].startswith(text.removeprefix(" ")) and prompt in one["title"]
        assert one["title"].removeprefix(text.removeprefix(" ")) in ("", "�")  # cut off within a character
        assert one["log_prob"] == pytest.approx(-sum(token["nats"] for token in tokens), abs=1e-3)
        assert (tokens[-1]["spelling"] == "<eos>") == one["ended"]
        for token in tokens:
            others = {other["spelling"]: other["probability"] for other in token["alternatives"]}
            assert len(token["alternatives"]) == ALTERNATIVES
            assert [*others.values()] == sorted(others.values(), reverse=True)
            assert (token["rank"] <= ALTERNATIVES) == (token["spelling"] in others)


@pytest.mark.slow
def test_two_who_ask_at_once_get_what_each_would_get_alone(events):
    asked = [{"prompt": "Show", "seed": seed, "num": 4, "run": seed % 2} for seed in range(6)]
    alone, found = [events(**settings) for settings in asked], [None] * len(asked)

    def work(place):
        found[place] = events(**asked[place])

    threads = [threading.Thread(target=work, args=[place]) for place in range(len(asked))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found == alone


def test_a_reader_who_leaves_does_no_harm(playground, events, capfd):
    body = json.dumps({"num": 12}).encode()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", playground.server_port)) as connection:
            head = f"POST /continue HTTP/1.1\r\nHost: 127.0.0.1:{playground.server_port}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
    assert events(num=1)[-1]["titles"]
    assert capfd.readouterr().err == ""


REFUSED = {
    "a name that was made to lead here": ("GET", "/", None, {"Host": "evil.example:80"}, 403, "answers as"),
    "no name": ("GET", "/", None, {"Host": ""}, 403, "answers as"),
    "the right name with another port": ("GET", "/", None, {"Host": "localhost:1"}, 403, "answers as"),
    "another page": ("POST", "/continue", b"{}", {**JSON, "Origin": "http://evil.example"}, 403, "own page"),
    "a page without a name": ("POST", "/continue", b"{}", {**JSON, "Origin": "null"}, 403, "own page"),
    "another port's page": ("POST", "/continue", b"{}", {**JSON, "Origin": "http://127.0.0.1:1"}, 403, "own page"),
    "a picture of another page": ("GET", "/", None, {"Sec-Fetch-Site": "cross-site"}, 403, "own page"),
    "a form": ("POST", "/continue", b"{}", {"Content-Type": "text/plain"}, 415, "application/json"),
    "no type": ("POST", "/continue", b"{}", {}, 415, "application/json"),
    "no length": ("POST", "/continue", None, JSON, 411, "Content-Length"),
    "a strange length": ("POST", "/continue", b"{}", {**JSON, "Content-Length": "+2"}, 411, "Content-Length"),
    "a large body": ("POST", "/continue", b" " * (LARGEST_BODY + 1), JSON, 413, f"more than {LARGEST_BODY}"),
    "no JSON": ("POST", "/continue", b"{", JSON, 400, "not JSON"),
    "deep JSON": ("POST", "/continue", b"[" * 9000, JSON, 400, "not JSON"),
    "no UTF-8": ("POST", "/continue", b'{"prompt": "\xff"}', JSON, 400, "not JSON"),
    "no object": ("POST", "/continue", b"[1]", JSON, 400, "a JSON object"),
    "another key": ("POST", "/continue", b'{"promt": ""}', JSON, 400, "did you mean 'prompt'"),
    "another run": ("POST", "/continue", b'{"run": 2}', JSON, 400, "from 0 to 1"),
    "a prompt that is no text": ("POST", "/continue", b'{"prompt": 3}', JSON, 400, "a text"),
    "a long prompt": ("POST", "/continue", b'{"prompt": "' + b"x" * 99 + b'"}', JSON, 400, "block of 32"),
    "half a pair": ("POST", "/continue", b'{"prompt": "\\ud800"}', JSON, 400, "not valid UTF-8"),
    "a blank first": ("POST", "/continue", b'{"prompt": " x"}', JSON, 400, "no title begins with a blank"),
    "many titles": ("POST", "/continue", b'{"num": 1000}', JSON, 400, "from 1 to 12"),
    "half a title": ("POST", "/continue", b'{"num": 1.5}', JSON, 400, "from 1 to 12"),
    "top-k 0": ("POST", "/continue", b'{"top_k": 0}', JSON, 400, "at least 1"),
    "NaN": ("POST", "/continue", b'{"temperature": NaN}', JSON, 400, "at least 0"),
    "top-p above 1": ("POST", "/continue", b'{"top_p": 1.5}', JSON, 400, "above 0, at most 1"),
    "nothing there": ("GET", "/../secret", None, {}, 404, "nothing here"),
    "nothing to ask": ("POST", "/runs", b"{}", JSON, 404, "nothing here"),
    "another method": ("DELETE", "/", None, {}, 501, "DELETE"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_said_in_a_sentence(case, ask, capfd):
    method, path, body, headers, expected, said = REFUSED[case]
    status, answered, content = ask(method, path, body, headers)
    assert (status, answered["Content-Type"]) == (expected, "application/json; charset=utf-8")
    (sentence,) = json.loads(content).values()
    assert said in sentence and "\n" not in sentence and len(sentence) < 300
    assert answered["Access-Control-Allow-Origin"] is None
    assert answered["X-Content-Type-Options"] == "nosniff"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_own_page_may_ask_under_both_names(ask, playground, name):
    here = f"{name}:{playground.server_port}"
    asked = {**JSON, "Host": here, "Origin": f"http://{here}", "Sec-Fetch-Site": "same-origin"}
    assert ask("POST", "/continue", b'{"num": 1}', asked)[0] == 200


def test_only_this_machine_can_reach_it(playground):
    assert playground.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_a_mistake_in_a_line(runs, capfd):
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = run_script(capfd, "playground", runs[0], "--port", other.getsockname()[1])
    assert ended.status == 2
    assert "in use by another program" in ended.stderr and len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_a_mistake_in_a_line(runs, capfd, port):
    ended = run_script(capfd, "playground", runs[0], f"--port={port}")
    assert ended.status == 2
    assert "at least 0 and at most 65535" in ended.stderr and len(ended.stderr.splitlines()) == 1
