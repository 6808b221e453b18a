use super::to_string;
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn block_style() {
    let value = json!({
        "a": {"b": [], "c": {}, "d": [1, [2, [3]], {"e": "f", "g": [{"h": null}]}]},
        "text": "one\ntwo\n",
        "no": "yes",
    });
    let text = to_string(&value).unwrap();
    assert_eq!(
        text,
        "a:\n  b: []\n  c: {}\n  d:\n  - 1\n  - - 2\n    - - 3\n  - e: f\n    g:\n    - h: null\n'no': 'yes'\ntext: |\n  one\n  two\n"
    );
    assert_eq!(read(&text), value);
}

#[test]
fn what_a_reader_takes_for_something_else_is_quoted() {
    for text in [
        "y",
        "Y",
        "n",
        "no",
        "No",
        "on",
        "OFF",
        "true",
        "False",
        "null",
        "NULL",
        "~",
        "",
        "1",
        "010",
        "0o10",
        "08",
        "0x1F",
        "0b11",
        "1_000",
        "1e3",
        "1.",
        ".5",
        ".inf",
        ".nan",
        "+1",
        "-1",
        "12:30",
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "=",
        "a: b",
        "a #b",
        "-a",
        "- a",
        "!a",
        "&a",
        "*a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "{a}",
        "[a]",
        "a:",
        "a ",
        " a",
        "#a",
        "'a'",
        "\"a\"",
        "{{ x }}",
        "::/0",
        "<<",
        "---",
        "...",
    ] {
        let written = to_string(text).unwrap();
        assert!(written.starts_with(['\'', '"']), "{written}");
        assert_eq!(read(&written), json!(text));
    }
    for text in
        ["a", "app.kubernetes.io/name", "10.0.0.0/8", "v1.2", "it's plain, really", "e1", "kube-system"]
    {
        assert_eq!(to_string(text).unwrap(), format!("{text}\n"));
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[ -~\n]{0,12}", "[-+.0-9xoe_:]{1,6}", Just("no".to_owned()),];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(value in value()) {
        let text = to_string(&value).unwrap();
        prop_assert_eq!(read(&text), value);
    }

    #[test]
    fn documents_within_documents(inner in value()) {
        let outer = std::collections::BTreeMap::from([("value", super::Embedded(&inner))]);
        let at_key = read(&to_string(&outer).unwrap());
        let in_list = read(&to_string(&[&outer]).unwrap());
        for text in [&at_key["value"], &in_list[0]["value"]] {
            let text = text.as_str().unwrap();
            prop_assert_eq!(text, to_string(&inner).unwrap());
            prop_assert_eq!(&read(text), &inner);
        }
    }
}
