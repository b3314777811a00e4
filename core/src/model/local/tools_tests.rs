use proptest::prelude::*;

use super::{super::testing, *};
use crate::model::{Message, ResponseFormat};

/// Text and calls of an answer that comes in `pieces`; neighbouring texts are one.
fn parsed(syntax: CallSyntax, pieces: &[&str]) -> Vec<Piece> {
    let mut parser = CallParser::new(syntax, vec!["f".into(), "g".into()], 0, usize::MAX);
    let mut all: Vec<_> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
    all.extend(parser.finish());
    all.into_iter().fold(Vec::new(), |mut joined, piece| {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => joined.push(piece),
        }
        joined
    })
}

fn text(text: &str) -> Piece {
    Piece::Text(text.into())
}

fn call(number: usize, name: &str, arguments: Value) -> Piece {
    Piece::Call(ToolCall::new(format!("call{number:05}"), name, arguments))
}

#[test]
fn all_control_tokens_of_a_call_are_seen() {
    let mut gguf = testing::tiny_gguf();
    let marks = ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[INST]"];
    let texts = gguf.texts("tokenizer.ggml.tokens").unwrap().iter().chain(marks).collect();
    let kinds = gguf.integers_if_any("tokenizer.ggml.token_type").unwrap().unwrap();
    let kinds = kinds.iter().copied().chain([3; 4]).collect();
    gguf.metadata.insert("tokenizer.ggml.tokens".into(), super::super::gguf::Value::Texts(texts));
    gguf.metadata.insert("tokenizer.ggml.token_type".into(), super::super::gguf::Value::Integers(kinds));
    let tokenizer = Tokenizer::new(&gguf).unwrap();
    let request = ChatRequest { tools: vec![FunctionSpec::new("f")], ..ChatRequest::user("x") };
    let seen = |syntax| {
        let tools = Tools::new(&Grammars::default(), &tokenizer, syntax, &request).unwrap().unwrap();
        (260..264).filter_map(|token| tools.mark(token)).collect::<Vec<_>>()
    };
    assert_eq!(seen(NAMED), marks[..3]);
    assert_eq!(seen(MISTRAL), marks[..1]);
}

#[test]
fn each_family_writes_calls_its_own_way() {
    let one = || vec![call(0, "f", json!({"x": 1}))];
    let two = || vec![call(0, "f", json!({"x": 1})), call(1, "g", json!({}))];
    let cases = [
        (TAGS, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>", one()),
        (TAGS, "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}</tool_call>\n", one()),
        (
            TAGS,
            "<tool_call>[{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\", \"arguments\": {}}]</tool_call>",
            two(),
        ),
        (
            TAGS,
            "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":1}}</tool_call>\n<tool_call>{\"name\":\"g\"}</tool_call>",
            two(),
        ),
        (TAGS, "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":1}}</tool_", one()),
        (PIPES, "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"x\": 1}}]<|/tool_call|>", one()),
        (MISTRAL, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\"}]", two()),
        (NAMED, "[TOOL_CALLS]f[ARGS]{\"x\": 1}", one()),
        (NAMED, "[TOOL_CALLS]f[ARGS]{\"x\": 1}[TOOL_CALLS]g[ARGS]{}", two()),
        (NAMED, "[TOOL_CALLS] f[CALL_ID]aB3dE6gH9[ARGS] {\"x\": 1}\n", one()),
        (NAMED, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"x\": 1}}, {\"name\": \"g\"}]", two()),
        (LLAMA, "{\"name\": \"f\", \"parameters\": {\"x\": 1}}", one()),
        (LLAMA, "\n<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {\"x\": 1}}", {
            let mut all = one();
            all.insert(0, text("\n"));
            all
        }),
        (LLAMA, "{\"name\": \"f\", \"parameters\": {\"x\": 1}}; {\"name\": \"g\", \"parameters\": {}}", two()),
        (OTHER, "{\"name\": \"f\", \"arguments\": {\"x\": 1}}", one()),
    ];
    for (syntax, answer, expected) in cases {
        assert_eq!(parsed(syntax, &[answer]), expected, "{answer}");
    }
}

#[test]
fn what_is_no_call_stays_text() {
    let same = [
        (TAGS, "{\"name\": \"f\", \"arguments\": {}}"),
        (TAGS, "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>"),
        (TAGS, "<tool_call>{\"name\": \"f\", \"arguments\": 7}</tool_call> and"),
        (TAGS, "<tool_call>{\"name\": \"f\", arguments}</tool_call>"),
        (TAGS, "<tool_call>hello</tool_call>"),
        (TAGS, "a <tool_call>{\"name\": \"f\", \"argum"),
        (TAGS, "a <tool_"),
        (LLAMA, "{\"city\": \"Rome\"}"),
        (LLAMA, "[a link](to.somewhere) and {\"name\": \"f\"}"),
        (MISTRAL, "[TOOL_CALLS]"),
        (NAMED, "[TOOL_CALLS]f"),
        (NAMED, "[TOOL_CALLS]f[ARGS]7"),
        (NAMED, "[TOOL_CALLS]f[ARGS]{\"x\""),
        (NAMED, "[TOOL_CALLS]unknown[ARGS]{}"),
        (NAMED, "[TOOL_CALLS][ARGS]{}"),
        (OTHER, " \n"),
    ];
    for (syntax, answer) in same {
        assert_eq!(parsed(syntax, &[answer]), [text(answer)]);
    }
    // As long as no id is: text at once, and in pieces.
    for far in [format!("f[CALL_ID]{}", "a".repeat(LONGEST_ID)), format!("{}f", " ".repeat(LONGEST_ID + 1))] {
        let (begin, end) = (format!("[TOOL_CALLS]{far}"), "[ARGS]{}");
        let whole = format!("{begin}{end}");
        assert_eq!((parsed(NAMED, &[&whole]), parsed(NAMED, &[&begin, end])), (vec![text(&whole)], vec![text(&whole)]));
    }
    let mixed = parsed(TAGS, &["Let me see. <tool_call>{\"name\": \"g\"}</tool_call>\n done <tool_call>no"]);
    assert_eq!(mixed, [text("Let me see. "), call(0, "g", json!({})), text("\n done <tool_call>no")]);
    let inside = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"}</tool_call>\\\"\"}}</tool_call>";
    assert_eq!(parsed(TAGS, &[inside]), [call(0, "f", json!({"x": "}</tool_call>\""}))]);
}

#[test]
fn text_is_held_back_only_while_it_may_be_a_call() {
    let mut parser = CallParser::new(TAGS, vec!["f".into()], 3, usize::MAX);
    assert_eq!(parser.push("one <to"), [text("one ")]);
    assert_eq!(parser.push("ast> two"), [text("<toast> two")]);
    assert_eq!(parser.push("<tool_call>{\"name\""), []);
    assert_eq!(parser.begun(), Some("{\"name\""));
    assert_eq!(parser.push(": \"f\"}"), [call(3, "f", json!({}))]);
    assert_eq!(parser.begun(), None);
    assert_eq!(parser.push("</tool_call>"), []);
}

#[test]
fn the_syntax_is_read_from_the_template() {
    let cases = [
        ("{% if tools %}<tool_call>{% endif %}", TAGS),
        ("{{ '<|tool_call|>' }}", PIPES),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS]", MISTRAL),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS]' + name + '[ARGS]", NAMED),
        ("<|python_tag|>", LLAMA),
        ("{\"name\": function name, \"parameters\": dictionary}", LLAMA),
        ("{{ tools }}", OTHER),
    ];
    for (source, syntax) in cases {
        assert_eq!(CallSyntax::of_template(source), syntax, "{source}");
    }
}

fn tools(syntax: CallSyntax, parameters: Value) -> Tools {
    let tokenizer = Tokenizer::new(&testing::tiny_gguf()).unwrap();
    let mut tool = FunctionSpec::new("f");
    tool.parameters = parameters;
    let request = ChatRequest { tools: vec![tool], messages: vec![Message::user("x")], ..ChatRequest::default() };
    Tools::new(&Grammars::default(), &tokenizer, syntax, &request).unwrap().unwrap()
}

#[test]
fn a_call_that_has_begun_is_held_to_the_schema() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false});
    for syntax in CallSyntax::ALL {
        let mut tools = tools(syntax, schema.clone());
        assert!(tools.constraint().is_none(), "nothing has begun");
        assert_eq!(tools.push(syntax.open), []);
        if syntax == NAMED {
            assert_eq!(tools.push("["), []);
            assert!(tools.constraint().unwrap().take_text("{\"name\": \"f\", \"arguments\": {\"n\": 12}}]"));
            continue;
        }
        let array = if syntax == MISTRAL { "[" } else { "" };
        let begin = format!("{array}{{\"name\": \"f\", \"{}\": {{\"n\": ", syntax.arguments);
        let held = |text: String| tools.constraint().unwrap().take_text(&text);
        assert!(held(format!("{begin}12}}}}")), "{begin}");
        assert!(!held(format!("{begin}true")));
        assert!(!held(begin.replace("\"f\"", "\"g\"")));
    }
    let mut bare = tools(LLAMA, schema);
    bare.push("{\"name\"");
    let mut constraint = bare.constraint().unwrap();
    assert!(constraint.take_text(": \"f\", \"parameters\": {\"n\": 1}}") && constraint.is_complete());
}

#[test]
fn tools_that_no_grammar_can_hold_are_still_read() {
    // What is no schema of an object is taken for one of any object.
    for (parameters, held) in
        [(json!({"type": "objekt"}), true), (json!({"not": {}}), false), (json!("nonsense"), true)]
    {
        let mut tools = tools(TAGS, parameters);
        assert_eq!(tools.push("<tool_call>{"), []);
        assert_eq!(tools.constraint().is_some(), held);
        assert_eq!(tools.push("\"name\": \"f\"}"), [call(0, "f", json!({}))]);
        assert!(tools.called());
    }
    // References that lead out of the schema.
    for to in ["https://example.com/schema", "other.json#/a"] {
        let mut tools = tools(TAGS, json!({"type": "object", "properties": {"a": {"$ref": to}}}));
        tools.push("<tool_call>");
        assert!(tools.constraint().unwrap().take_text("{\"name\": \"f\", \"arguments\": {\"any\": 1}}"));
    }
}

#[test]
fn references_of_a_tool_are_to_its_own_schema() {
    // A person has friends, who are persons; a key may be called as a reference is.
    let person = json!({
        "type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {
            "name": {"$ref": "#/$defs/name"},
            "friends": {"type": "array", "items": {"$ref": "#"}},
            "$ref": {"const": {"$ref": "#/nowhere"}},
        },
        "$defs": {"name": {"type": "string", "maxLength": 3}},
    });
    for (syntax, begin, end) in [
        (TAGS, "{\"name\": \"f\", \"arguments\": ", "}"),
        (LLAMA, "{\"name\": \"f\", \"parameters\": ", "}"),
        (MISTRAL, "[{\"name\": \"f\", \"arguments\": ", "}]"),
        (NAMED, "f[ARGS]", ""),
    ] {
        let held = |arguments: &str| {
            let mut tools = tools(syntax, person.clone());
            tools.push(syntax.open);
            let text = format!("{begin}{arguments}{end}");
            // What the parser needs before it can tell, and the rest.
            let told = text.find(['{', '[']).map_or(0, |at| if syntax == NAMED { at + "[ARGS]".len() } else { 0 });
            tools.push(&text[..told]);
            tools.constraint().unwrap().take_text(&text[told..])
        };
        assert!(held("{\"name\": \"Ada\"}"), "{syntax:?}");
        assert!(held("{\"name\": \"Ada\", \"friends\": [{\"name\": \"Bob\", \"friends\": []}]}"), "{syntax:?}");
        assert!(held("{\"name\": \"Ada\", \"$ref\": {\"$ref\": \"#/nowhere\"}}"), "{syntax:?}");
        assert!(!held("{\"name\": \"Adam\"}"), "{syntax:?}");
        assert!(!held("{\"name\": \"Ada\", \"friends\": [7]}"), "{syntax:?}");
    }
}

/// The constraint of a whole answer to `request` of tools `f` and `g`, each with a number that `g` has in a definition.
fn whole(syntax: CallSyntax, controls: &[&str], request: ChatRequest) -> Result<Constraint> {
    let gguf = testing::tiny_gguf_of("", controls);
    let own = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["n"], "additionalProperties": false});
    let referring = json!({"$id": "https://example.com/g", "$ref": "#/$defs/own", "$defs": {"own": own}});
    let tool = |name: &str, parameters| FunctionSpec { parameters, ..FunctionSpec::new(name) };
    let tools = vec![tool("f", own), tool("g", referring)];
    let request = ChatRequest { tools, messages: vec![Message::user("x")], ..request };
    let mut tools = Tools::new(&Grammars::default(), &Tokenizer::new(&gguf).unwrap(), syntax, &request)?.unwrap();
    assert!(tools.hold_whole());
    Ok(tools.take_whole().unwrap())
}

/// An answer that a family writes, as `one` call of `f` and as `two` of `f` and `g`.
const ANSWERS: [(CallSyntax, &str, &str); 7] = [
    (
        TAGS,
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>",
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"n\": 2}}\n</tool_call>",
    ),
    (
        PIPES,
        "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"n\": 1}}]<|/tool_call|>",
        "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"g\", \"arguments\": {\"n\": 2}}]<|/tool_call|>",
    ),
    (
        MISTRAL,
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"n\": 1}}]",
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"g\", \"arguments\": {\"n\": 2}}]",
    ),
    (
        MISTRAL,
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 1}}]",
        "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"g\", \"arguments\": {\"n\": 2}}]",
    ),
    (NAMED, "[TOOL_CALLS]f[ARGS]{\"n\": 1}", "[TOOL_CALLS]f[ARGS]{\"n\": 1}[TOOL_CALLS]g[ARGS]{\"n\": 2}"),
    (
        LLAMA,
        "{\"name\": \"f\", \"parameters\": {\"n\": 1}}",
        "{\"name\": \"f\", \"parameters\": {\"n\": 1}}; {\"name\": \"g\", \"parameters\": {\"n\": 2}}",
    ),
    (
        OTHER,
        "{\"name\": \"f\", \"arguments\": {\"n\": 1}}",
        "{\"name\": \"f\", \"arguments\": {\"n\": 1}}; {\"name\": \"g\", \"arguments\": {\"n\": 2}}",
    ),
];

#[test]
fn an_answer_that_has_to_be_calls_is_what_the_family_writes() {
    let required = || ChatRequest { tool_choice: ToolChoice::Required, ..ChatRequest::default() };
    let single = || ChatRequest { parallel_tool_calls: Some(false), ..required() };
    for (syntax, one, two) in ANSWERS {
        let may_be = |request, text: &str| whole(syntax, &[], request).unwrap().may_be(text);
        assert!(may_be(required(), one) && may_be(single(), one), "{one}");
        assert!(may_be(required(), two) && !may_be(single(), two), "{two}");
        assert_eq!(parsed(syntax, &[two]), [call(0, "f", json!({"n": 1})), call(1, "g", json!({"n": 2}))]);
        assert!(!may_be(required(), &format!("I see. {one}")), "text before it");
        assert!(!may_be(required(), &one.replace("\"n\": 1", "\"n\": 100")) && !may_be(required(), ""));
        // The one that is named, once; of `g` the schema is behind a reference.
        let named = || ChatRequest { tool_choice: ToolChoice::Tool("g".into()), ..ChatRequest::default() };
        let (of_g, wrong) = (one.replace('f', "g"), one.replace('f', "g").replace("\"n\": 1", "\"n\": -1"));
        assert!(may_be(named(), &of_g) && !may_be(named(), one) && !may_be(named(), &wrong), "{of_g}");
        // Or JSON of a form.
        let response_format = ResponseFormat::JsonSchema { name: "a".into(), schema: json!({"const": [7]}) };
        let either = || ChatRequest { response_format: response_format.clone(), ..ChatRequest::default() };
        assert!(may_be(either(), "[7]") && may_be(either(), one) && !may_be(either(), "[8]") && !may_be(either(), "x"));
    }
}

#[test]
fn control_tokens_around_calls_are_those_tokens() {
    let request = || ChatRequest { tool_choice: ToolChoice::Required, ..ChatRequest::default() };
    let (named, pipes) = (["[TOOL_CALLS]", "[ARGS]"], ["<|tool_call|>", "<|/tool_call|>"]);
    // Number 260 and 261.
    let first = |syntax, controls: &[&str], token: u32| whole(syntax, controls, request()).unwrap().take(token).is_ok();
    assert!(first(NAMED, &named, 260) && first(PIPES, &pipes, 260) && first(MISTRAL, &named, 260));
    // Their text in letters is that of a user.
    assert!(!whole(NAMED, &named, request()).unwrap().take_text("[T"));
    let mut constraint = whole(NAMED, &named, request()).unwrap();
    constraint.take(260).unwrap();
    assert!(constraint.take_text("f"));
    constraint.take(261).unwrap();
    assert!(constraint.take_text("{\"n\": 5}"));
}

#[test]
fn a_schema_that_cannot_be_kept_to_is_refused_where_it_has_to_be() {
    let tokenizer = Tokenizer::new(&testing::tiny_gguf()).unwrap();
    let not = json!({"not": {"required": ["a"]}});
    let elsewhere = json!({"properties": {"a": {"$ref": "other.json"}}});
    for parameters in [not, elsewhere, json!({"type": "array"}), json!("nonsense")] {
        let tools = vec![FunctionSpec::new("fine"), FunctionSpec { parameters, ..FunctionSpec::new("odd") }];
        let request = ChatRequest { tools, tool_choice: ToolChoice::Required, ..ChatRequest::user("x") };
        for syntax in CallSyntax::ALL {
            let error = Tools::new(&Grammars::default(), &tokenizer, syntax, &request).unwrap_err();
            assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("\"odd\""), "{error}");
            let named = ChatRequest { tool_choice: ToolChoice::Tool("fine".into()), ..request.clone() };
            assert!(Tools::new(&Grammars::default(), &tokenizer, syntax, &named).unwrap().is_some());
        }
    }
}

#[test]
fn behind_the_last_call_that_there_may_be_nothing_is_read() {
    for (syntax, _, two) in ANSWERS {
        let mut parser = CallParser::new(syntax, vec!["f".into(), "g".into()], 0, 1);
        let mut pieces = parser.push(two);
        pieces.extend(parser.push(" and so on"));
        pieces.extend(parser.finish());
        assert_eq!(pieces, [call(0, "f", json!({"n": 1}))], "{two}");
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        answer in "(<tool_call>|</tool_call>|\\[TOOL_CALLS\\]|\\[ARGS\\]|f|<\\|python_tag\\|>|\\{\"name\": \"f\"|, \"arguments\": \\{\\}|\\}|\\[|\\]|\\{|\"| |;|\n|<|é){0,14}",
        cuts in prop::collection::vec(0_usize..160, 0..10),
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| answer.is_char_boundary(*cut)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect();
        for syntax in CallSyntax::ALL {
            let whole = parsed(syntax, &[&answer]);
            prop_assert_eq!(&parsed(syntax, &pieces), &whole);
            if whole.iter().all(|piece| matches!(piece, Piece::Text(_))) {
                let shown = if answer.is_empty() { vec![] } else { vec![text(&answer)] };
                prop_assert_eq!(whole, shown, "nothing is lost");
            }
        }
    }
}
