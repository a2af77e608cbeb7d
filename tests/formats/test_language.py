"""Facts about Sekoia's parser language, each seen in the documentation or the tests of its public formats."""

from typing import Any

import pytest

from tests.formats.language import Parsed, Parser, is_ip_address, parse_date

TYPES = {
    name: name.split("_")[0]
    for name in ("keyword", "keyword_2", "array", "array_2", "boolean", "long", "float", "ip", "date")
}
READ_JSON = {
    "name": "stage1",
    "external": {
        "name": "json.parse-json",
        "properties": {"input_field": "{{original.message}}", "output_field": "message"},
    },
}


def run(text: str, *actions: dict[str, Any]) -> Parsed:
    """Applies actions to a JSON text, which they know as stage1.message."""
    pipeline = [READ_JSON, {"name": "actions"}]
    return Parser({"pipeline": pipeline, "stages": {"actions": {"actions": list(actions)}}}, TYPES).parse(text)


def value_of(expression: Any, message: str = "{}", field: str = "keyword") -> Any:
    """Returns what an expression sets a field to, None if it sets nothing."""
    return run(message, {"set": {field: expression}}).event.get(field)


@pytest.mark.parametrize(
    ("json", "field", "value"),
    [
        ('"10.0.0.1"', "ip", "10.0.0.1"),
        ("0", "keyword", "0"),
        ("0", "long", 0),
        ("true", "keyword", "true"),
        ("false", "keyword", "false"),
        ("false", "boolean", False),
        ("47.68050003051758", "float", 47.68050003051758),
        ("[]", "keyword", []),
        ('["a", "b"]', "keyword", ["a", "b"]),
        ('[{"id": null, "list": [1]}]', "array", [{"id": None, "list": [1]}]),
        ('"a"', "array", ["a"]),
        ('"111_222_333"', "keyword", "111_222_333"),
        ('"+13045555555"', "keyword", "+13045555555"),
        ('"0.10"', "keyword", "0.10"),
        ('"[\\"a text\\"]"', "keyword", '["a text"]'),
        ('"C:\\\\version\\\\4"', "keyword", "C:\\version\\4"),
        ('"none"', "keyword", "none"),
    ],
)
def test_a_lone_expression_gives_its_value_in_the_fields_type(json: str, field: str, value: Any) -> None:
    """A value keeps its type where the field has one for it; a text is never read as a number or a literal."""
    assert value_of("{{stage1.message.a}}", f'{{"a": {json}}}', field) == value


@pytest.mark.parametrize("message", ["{}", '{"a": null}', '{"a": ""}', '{"a": "  "}'])
def test_what_is_missing_null_or_empty_sets_nothing(message: str) -> None:
    """The field is left as it is, and nothing is raised."""
    parsed = run(message, {"set": {"keyword": "before"}}, {"set": {"keyword": "{{stage1.message.a}}"}})
    assert parsed.event == {"keyword": "before"}
    assert parsed.raised == []


@pytest.mark.parametrize(
    "expression",
    [
        "{{stage1.message.status.additionalDetails or stage1.message.resultReason}}",
        "{{stage1.message.initiatedBy.user.id}}",
        "{{stage1.message.nothing.at.all}}",
        "{{stage2.message}}",
        "{% for item in stage1.message.null_list %}{{item}}{% endfor %}",
    ],
)
def test_an_expression_that_raises_sets_nothing_though_a_later_part_would_give_a_value(expression: str) -> None:
    """A member of what is missing raises, and the field is gone: so the catalogue's resultReason never arrives."""
    parsed = run('{"resultReason": "OK", "initiatedBy": {}, "null_list": null}', {"set": {"keyword": expression}})
    assert parsed.event == {}
    assert len(parsed.raised) == 1


def test_a_member_of_null_is_undefined_and_not_an_error() -> None:
    """One level below null is missing; two levels below raise."""
    assert run('{"a": null}', {"set": {"keyword": "{{stage1.message.a.b}}"}}).raised == []
    assert run('{"a": null}', {"set": {"keyword": "{{stage1.message.a.b.c}}"}}).raised != []


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("from {{stage1.message.ip}}", "from 192.0.2.1"),
        ('["network"]', ["network"]),
        (["network", "{{stage1.message.ip}}"], ["network", "192.0.2.1"]),
        ("[ {% for item in stage1.message.targets %} {{item}}, {% endfor %} ]", [{"a": "b", "c": None}, {"a": "null"}]),
        ("[ {% for item in stage1.message.missing %} {{item}}, {% endfor %} ]", []),
        ("[not a list", "[not a list"),
    ],
)
def test_with_text_around_it_an_expression_gives_a_text_and_a_list_where_it_is_written_like_one(
    expression: Any, value: Any
) -> None:
    """Python's way of writing a value is read too: that is how the catalogue's lists come about."""
    message = '{"ip": "192.0.2.1", "targets": [{"a": "b", "c": null}, {"a": "null"}]}'
    assert value_of(expression, message, "array" if isinstance(value, list) else "keyword") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2018-01-09T21:20:02.7215374Z", "2018-01-09T21:20:02.721537Z"),
        ("2025-11-12T13:59:29.848568+00:00", "2025-11-12T13:59:29.848568Z"),
        ("2023-12-01T16:03:35Z", "2023-12-01T16:03:35Z"),
        ("2026-03-02T08:16:00", "2026-03-02T08:16:00Z"),
        ("2026-03-02T08:16:00.5", "2026-03-02T08:16:00.500000Z"),
        ("2026-03-02T10:16:00+02:00", "2026-03-02T08:16:00Z"),
    ],
)
def test_dates_are_utc_and_cut_to_microseconds(text: str, value: str) -> None:
    """`date.parse` gives RFC 3339; what states no offset is UTC."""
    assert parse_date(text) == value


def test_a_stage_that_cannot_read_gives_nothing_and_the_rest_goes_on() -> None:
    """A date of no form leaves its layer undefined."""
    date = {
        "name": "day",
        "external": {"name": "date.parse", "properties": {"input_field": "one day", "output_field": "date"}},
    }
    source = {
        "pipeline": [READ_JSON, date, {"name": "last"}],
        "stages": {"last": {"actions": [{"set": {"date": "{{(day or {}).date}}", "keyword": "{{stage1.message.a}}"}}]}},
    }
    parsed = Parser(source, TYPES).parse('{"a": "b"}')
    assert parsed.event == {"keyword": "b"}
    assert len(parsed.raised) == 1


def test_a_stage_or_an_action_whose_filter_is_false_or_raises_is_left_out() -> None:
    """The documentation's example: stages of a network's and of a process' event."""
    source = {
        "pipeline": [
            READ_JSON,
            {"name": "network", "filter": '{{stage1.message.log_type == "network"}}'},
            {"name": "process", "filter": '{{stage1.message.log_type == "process"}}'},
        ],
        "stages": {
            "network": {"actions": [{"set": {"keyword": "network"}}]},
            "process": {"actions": [{"set": {"keyword": "process"}}, {"set": {"ip": "1"}, "filter": "{{a.b.c}}"}]},
        },
    }
    parsed = Parser(source, TYPES).parse('{"log_type": "process"}')
    assert parsed.event == {"keyword": "process"}


def test_a_later_action_sets_a_field_again_and_a_field_outside_the_taxonomy_is_dropped() -> None:
    """The last word counts."""
    parsed = run("{}", {"set": {"keyword": "first", "stranger": "x"}}, {"set": {"keyword": "last"}})
    assert parsed.event == {"keyword": "last"}


def test_translate_and_delete() -> None:
    """A dictionary's value or the fallback is set, or nothing; a deleted field is gone."""
    table = {"dictionary": {200: "OK", 404: "Not Found"}, "mapping": {"stage1.message.status": "keyword"}}
    assert run('{"status": 200}', table).event == {"keyword": "OK"}
    assert run('{"status": 500}', table).event == {}
    assert run('{"status": 500}', {**table, "fallback": "Request Processed"}).event == {"keyword": "Request Processed"}
    assert run('{"status": 200}', table, {"delete": ["keyword", "keyword_2"]}).event == {}


@pytest.mark.parametrize(
    ("text", "value"), [("192.0.2.1", True), ("2001:db8::1", True), ("", False), ("None", False), ("host", False)]
)
def test_is_ipaddress(text: str, value: bool) -> None:
    """The language's own filter, which guards source.ip in most formats."""
    assert is_ip_address(text) is value
