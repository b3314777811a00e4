use std::{path::PathBuf, time::Duration};

use futures_util::StreamExt;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::*;
use crate::{
    context::{Context, Priority},
    engine::FunctionSpec,
    error::{ErrorKind, Result},
    model::{ChatModel, ChatRequest, Delta, FinishReason, Message, ResponseFormat, Sampling, ToolChoice, collect},
};

/// A file that goes away with the test.
struct TinyModel {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(bytes: &[u8]) -> TinyModel {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    TinyModel { _folder: folder, path }
}

fn tiny(concurrency: usize) -> LocalModel {
    tiny_with(&LocalConfig::default().concurrency(concurrency))
}

fn tiny_with(config: &LocalConfig) -> LocalModel {
    let file = file(&testing::tiny_file());
    LocalModel::load("tiny", &file.path, config).unwrap()
}

fn ask(sampling: Sampling) -> ChatRequest {
    ChatRequest { sampling, ..ChatRequest::user("hi") }
}

#[tokio::test]
async fn an_answer_streams_and_is_counted() {
    let model = tiny(2);
    let request = ask(Sampling { max_tokens: Some(8), logprobs: Some(3), seed: Some(5), ..Sampling::default() });
    let prompt = model.count_tokens(&request).unwrap();
    let first = collect(model.chat(&Context::new(), request.clone()).await.unwrap()).await.unwrap();
    assert_eq!(first.usage.input_tokens, prompt);
    assert_eq!(first.logprobs.len() as u64, first.usage.output_tokens);
    assert!(first.usage.output_tokens <= 8);
    assert!(first.logprobs.iter().all(|l| l.top.len() == 3 && l.logprob <= 0.0 && l.top[0].1 >= l.logprob));
    let again = collect(model.chat(&Context::new(), request).await.unwrap()).await.unwrap();
    assert_eq!(first, again, "a seed repeats the answer");
}

#[test]
fn what_cannot_fit_is_not_counted_to_the_end() {
    let model = tiny(1);
    let tokens = |bytes: usize| model.count_tokens(&ChatRequest::user("a".repeat(bytes))).unwrap();
    // The longest token has 13 bytes, and the context is one of 64 tokens; every byte is a token here.
    assert_eq!(tokens(64 * 13), 64);
    assert!(tokens(64 * 13 - 1) > 64 * 12, "what might fit is counted");
}

#[tokio::test]
async fn a_full_context_ends_the_answer() {
    let model = tiny(1);
    let request = ask(Sampling { temperature: Some(0.0), ..Sampling::default() });
    let reply = collect(model.chat(&Context::new(), request).await.unwrap()).await.unwrap();
    if reply.finish_reason == FinishReason::Length {
        assert_eq!(reply.usage.input_tokens + reply.usage.output_tokens, model.profile().context_length);
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_any_work() {
    let model = tiny(1);
    let kind = |request: ChatRequest| {
        let model = &model;
        async move { model.chat(&Context::new(), request).await.map(|_| ()).unwrap_err().kind() }
    };
    assert_eq!(kind(ChatRequest::user("x".repeat(100))).await, ErrorKind::ContextLength);
    assert_eq!(kind(ChatRequest::user("x".repeat(10_000_000))).await, ErrorKind::ContextLength);
    assert_eq!(kind(ChatRequest::default()).await, ErrorKind::Invalid);
    assert_eq!(kind(ask(Sampling { temperature: Some(9.0), ..Sampling::default() })).await, ErrorKind::Invalid);
    let schema = |schema| ResponseFormat::JsonSchema { name: "a".into(), schema };
    let formed = |response_format| ChatRequest { response_format, ..ChatRequest::user("hi") };
    assert_eq!(kind(formed(schema(json!({"type": "objekt"})))).await, ErrorKind::Invalid);
    assert_eq!(kind(formed(schema(json!({"not": {}})))).await, ErrorKind::Unsupported);
    let tools = vec![FunctionSpec::new("f")];
    let regex = ResponseFormat::Regex { pattern: "a".into() };
    assert_eq!(kind(ChatRequest { tools, ..formed(regex) }).await, ErrorKind::Unsupported);
    let cx = Context::new();
    cx.cancel.cancel();
    assert_eq!(model.chat(&cx, ChatRequest::user("hi")).await.map(|_| ()).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_bias_is_for_tokens_of_the_model() {
    let model = tiny(1);
    let biased = async |token: u32, bias: f32| {
        let sampling = Sampling { logit_bias: [(token, bias)].into(), max_tokens: Some(5), ..Sampling::default() };
        model.chat(&Context::new(), ask(sampling)).await
    };
    // "A" is token 3 + 65; of a letter that is said at all costs, nothing else is said.
    assert_eq!(collect(biased(68, 100.0).await.unwrap()).await.unwrap().text, "AAAAA");
    let error = biased(260, 1.0).await.map(|_| ()).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("260"), "{error}");
}

#[tokio::test]
async fn many_ways_on_from_one_prompt() {
    let model = tiny(8);
    let prompt = model.tokenize("the same beginning of all that comes after it").unwrap();
    let sampling = Sampling { seed: Some(7), temperature: Some(1.0), max_tokens: Some(8), ..Sampling::default() };
    let streams = model.complete_many(&Context::new(), &prompt, &sampling, 4).unwrap();
    let together = futures_util::future::join_all(streams.into_iter().map(collect)).await;
    for (seed, one) in (7..).zip(together) {
        let sampling = Sampling { seed: Some(seed), ..sampling.clone() };
        let alone = collect(tiny(1).complete(&Context::new(), prompt.clone(), &sampling).unwrap()).await.unwrap();
        assert_eq!(one.unwrap().text, alone.text);
    }
    assert_eq!(model.local_statistics().unwrap().tokens_found, 3 * 32);
}

#[tokio::test]
async fn a_dropped_stream_gives_its_turn_back() {
    let model = tiny(1);
    for _ in 0..3 {
        let mut stream = model.chat(&Context::new(), ChatRequest::user("hi")).await.unwrap();
        let _first: Option<Result<Delta>> = stream.next().await;
    }
    let cx = Context::new().within(Duration::from_mins(1));
    assert!(collect(model.chat(&cx, ChatRequest::user("hi")).await.unwrap()).await.is_ok());
}

#[tokio::test]
async fn a_deadline_holds_and_a_reader_who_sleeps_holds_up_no_one() {
    let model = tiny(1);
    let asleep = model.chat(&Context::new(), ChatRequest::user("hi")).await.unwrap();
    let cx = Context::new().within(Duration::from_mins(1));
    assert!(collect(model.chat(&cx, ChatRequest::user("hi")).await.unwrap()).await.is_ok());
    drop(asleep);
    let late = Context::new().within(Duration::ZERO);
    assert_eq!(model.chat(&late, ChatRequest::user("hi")).await.map(|_| ()).unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn more_than_may_wait_are_refused_and_told_when_to_come_back() {
    let model = tiny_with(&LocalConfig::default().concurrency(1).queue(0));
    let one = collect(model.chat(&Context::new(), ChatRequest::user("hi")).await.unwrap()).await;
    assert!(one.is_ok(), "a free place is no wait");
    let mut refused = None;
    let mut streams = Vec::new();
    for _ in 0..1000 {
        match model.chat(&Context::new(), ChatRequest::user("hi")).await {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let error = refused.expect("one place is not enough for a thousand");
    assert!(error.kind() == ErrorKind::Overloaded && error.is_retryable(), "{error}");
    for known in ["retry_after_ms", "wait_ms", "waiting"] {
        assert!(error.context().iter().any(|(name, _)| *name == known), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_written_beside_an_answer_does_not_change_it() {
    let long = "a longer beginning that many have in common ";
    let request = |at: u64| {
        let sampling = Sampling { seed: Some(at), max_tokens: Some(9), temperature: Some(1.2), ..Sampling::default() };
        let text = if at.is_multiple_of(2) { format!("{at}") } else { format!("{long}{}", at % 5) };
        ChatRequest { sampling, ..ChatRequest::user(&text[..text.len().min(24)]) }
    };
    let mut alone = Vec::new();
    for at in 0..33 {
        let model = tiny(1);
        alone.push(collect(model.chat(&Context::new(), request(at)).await.unwrap()).await.unwrap());
    }
    // With room for all, with room for few, and on more threads than there are cores; urgent ones take turns away where
    // they come late enough.
    for beside in [1, 7, 32] {
        for config in [
            LocalConfig::default(),
            LocalConfig::default().memory_bytes(0),
            LocalConfig::default().concurrency(3).threads(3),
        ] {
            let model = tiny_with(&config);
            let streams = (0..=beside).map(|at| {
                let model = &model;
                let priority = [Priority::Background, Priority::Normal, Priority::Interactive][at as usize % 3];
                let cx = Context::new().priority(priority);
                async move { collect(model.chat(&cx, request(at)).await.unwrap()).await.unwrap() }
            });
            let together = futures_util::future::join_all(streams).await;
            for (alone, together) in alone.iter().zip(&together) {
                assert_eq!((&alone.text, alone.finish_reason), (&together.text, together.finish_reason), "{config:?}");
            }
            at_rest(&model).await;
        }
    }
}

/// Waits until no answer is being written; the last piece is given out a moment before.
async fn at_rest(model: &LocalModel) {
    for _ in 0..500 {
        let statistics = model.local_statistics().unwrap();
        if (statistics.waiting, statistics.running) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("some were left behind: {:?}", model.local_statistics().unwrap());
}

#[tokio::test]
async fn a_common_beginning_is_read_once() {
    let model = tiny(4);
    let request = |last: &str| ChatRequest {
        sampling: Sampling { max_tokens: Some(1), ..Sampling::default() },
        ..ChatRequest::user(format!("the same beginning, which is long {last}"))
    };
    let first = collect(model.chat(&Context::new(), request("a")).await.unwrap()).await.unwrap();
    let second = collect(model.chat(&Context::new(), request("b")).await.unwrap()).await.unwrap();
    assert_eq!((first.usage.cached_tokens, second.usage.cached_tokens), (0, 32), "{:?}", second.usage);
    assert_eq!(model.local_statistics().unwrap().tokens_found, 32);
}

/// A thousand answers of all lengths and priorities, some given up at all moments: none is lost, and nothing is left
/// behind but what is kept for answers to come.
#[tokio::test]
async fn many_come_and_go() {
    let model = tiny_with(&LocalConfig::default().concurrency(8).memory_bytes(40_000));
    let jobs = (0..1000_u64).map(|at| {
        let model = &model;
        async move {
            let sampling = Sampling { seed: Some(at), max_tokens: Some((at % 20 + 1) as u32), ..Sampling::default() };
            let request = ChatRequest { sampling, ..ChatRequest::user(&"words and words "[..(at % 16) as usize]) };
            let cx = Context::new();
            let cx = cx.priority([Priority::Interactive, Priority::Normal, Priority::Background][at as usize % 3]);
            let mut stream = model.chat(&cx, request).await.unwrap();
            match at % 5 {
                0 => drop(stream),
                1 => {
                    let _first = stream.next().await;
                    cx.cancel.cancel();
                    while stream.next().await.is_some() {}
                }
                2 => drop(tokio::time::timeout(Duration::from_millis(at % 50), collect(stream)).await),
                _ => {
                    collect(stream).await.unwrap();
                }
            }
        }
    });
    let all = futures_util::future::join_all(jobs);
    tokio::time::timeout(Duration::from_mins(2), all).await.expect("none is stuck");
    at_rest(&model).await;
    let statistics = model.local_statistics().unwrap();
    assert_eq!(statistics.memory_bytes, statistics.kept_bytes, "{statistics:?}");
    assert!(statistics.tokens_per_s > 0.0 && statistics.loaded, "{statistics:?}");
}

/// Of two tokens that are said in any order guesses are now right and now wrong: the answer and its probabilities are
/// the same to the last bit.
#[tokio::test]
async fn guesses_change_nothing() {
    let with = tiny_with(&LocalConfig::default().speculation(true));
    let without = tiny_with(&LocalConfig::default().speculation(false));
    for seed in 0..12 {
        let sampling = Sampling {
            seed: Some(seed),
            temperature: Some(if seed == 0 { 0.0 } else { 1.5 }),
            top_p: Some(1.0),
            logit_bias: [(100, 60.0), (101, 60.0)].into(),
            logprobs: Some(2),
            ..Sampling::default()
        };
        let request = ChatRequest { sampling, ..ChatRequest::user("ab") };
        let guessed = collect(with.chat(&Context::new(), request.clone()).await.unwrap()).await.unwrap();
        let plain = collect(without.chat(&Context::new(), request).await.unwrap()).await.unwrap();
        assert_eq!((guessed.text, guessed.logprobs), (plain.text, plain.logprobs), "seed {seed}");
    }
    at_rest(&with).await;
    let statistics = with.local_statistics().unwrap();
    let wrong = statistics.tokens_drafted - statistics.tokens_accepted;
    assert!(statistics.tokens_accepted > 20 && wrong > 20, "both were tried: {statistics:?}");
    assert_eq!(without.local_statistics().unwrap().tokens_drafted, 0);
}

#[tokio::test]
async fn a_passed_deadline_is_told_in_the_stream() {
    let model = tiny(1);
    let cx = Context::new();
    let stream = model.chat(&cx, ChatRequest::user("hi")).await.unwrap();
    cx.cancel.cancel();
    match collect(stream).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
        Ok(_) => eprintln!("the tiny model was done before it could be cancelled"),
    }
}

#[test]
fn damaged_models_are_refused() {
    let whole = testing::tiny_file();
    let refused = |bytes: &[u8]| {
        let file = file(bytes);
        LocalModel::load("tiny", &file.path, &LocalConfig::default()).map(|_| ()).unwrap_err().kind()
    };
    for end in [0, 3, 100, whole.len() / 2, whole.len() - 40] {
        assert_eq!(refused(&whole[..end]), ErrorKind::Corrupt, "cut at {end}");
    }
    assert_eq!(refused(b"\x7fELF a programme"), ErrorKind::Corrupt);
    let missing = LocalModel::load("tiny", "no/such/file".as_ref(), &LocalConfig::default());
    assert_eq!(missing.map(|_| ()).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Each byte of the head, changed one at a time in a stride: whatever it becomes, it loads or is refused.
#[tokio::test]
async fn a_changed_byte_never_panics() {
    let whole = testing::tiny_file();
    let head = super::gguf::Gguf::read(&whole[..], whole.len() as u64).unwrap().data_offset as usize;
    for at in (0..head).step_by(head / 400) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        let file = file(&bytes);
        if let Ok(model) = LocalModel::load("tiny", &file.path, &LocalConfig::default()) {
            let request = ask(Sampling { max_tokens: Some(1), ..Sampling::default() });
            if let Ok(stream) = model.chat(&Context::new(), request).await {
                let _ =
                    collect(stream).await.map_err(|e| assert_ne!(e.kind(), ErrorKind::Unexpected, "byte {at}: {e:?}"));
            }
        }
    }
}

/// The token that a merge makes becomes a control token, so that text cannot become it.
#[test]
fn a_merge_into_what_is_no_token_is_refused() {
    let mut bytes = testing::tiny_file();
    let key = b"tokenizer.ggml.merges";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    // Before the key stands its length, and before that the type of the last token.
    assert_eq!(bytes[at - 12..at - 8], [1, 0, 0, 0]);
    bytes[at - 12] = 3;
    let error = LocalModel::load("tiny", &file(&bytes).path, &LocalConfig::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_stop_text_ends_the_answer() {
    let model = tiny(1);
    let request = |stop| {
        ask(Sampling { seed: Some(1), max_tokens: Some(20), temperature: Some(1.5), stop, ..Sampling::default() })
    };
    let whole = collect(model.chat(&Context::new(), request(vec![])).await.unwrap()).await.unwrap();
    let middle: String = whole.text.chars().skip(2).take(1).collect();
    let cut = collect(model.chat(&Context::new(), request(vec![middle.clone()])).await.unwrap()).await.unwrap();
    assert_eq!(cut.finish_reason, FinishReason::Stop);
    assert_eq!(cut.text, whole.text.split(&middle).next().unwrap());
    let mut system = request(vec![]);
    system.messages.insert(0, Message::system("x"));
    assert!(model.count_tokens(&system).unwrap() > whole.usage.input_tokens);
}

fn short(response_format: ResponseFormat, max_tokens: u32, seed: u64) -> ChatRequest {
    let sampling = Sampling { seed: Some(seed), max_tokens: Some(max_tokens), ..Sampling::default() };
    ChatRequest { response_format, sampling, ..ChatRequest::user("") }
}

#[tokio::test]
async fn an_answer_in_a_form_keeps_to_it_and_ends_where_it_is_complete() {
    let model = tiny(4);
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 10, "maximum": 99}},
        "required": ["n"], "additionalProperties": false});
    let json = ResponseFormat::JsonSchema { name: "n".into(), schema };
    let regex = ResponseFormat::Regex { pattern: "[ab]{3}".into() };
    let answers = (0..8).map(|seed| {
        let (model, format) = (&model, if seed % 2 == 0 { json.clone() } else { regex.clone() });
        async move { collect(model.chat(&Context::new(), short(format, 20, seed)).await.unwrap()).await.unwrap() }
    });
    let answers = futures_util::future::join_all(answers).await;
    for (seed, answer) in answers.iter().enumerate() {
        assert_eq!(answer.finish_reason, FinishReason::Stop, "{answer:?}");
        if seed % 2 == 0 {
            let value: Value = serde_json::from_str(&answer.text).unwrap();
            assert!((10..100).contains(&value["n"].as_u64().unwrap()), "{}", answer.text);
        } else {
            assert!(answer.text.len() == 3 && answer.text.chars().all(|c| "ab".contains(c)), "{}", answer.text);
        }
    }
    let cut = collect(model.chat(&Context::new(), short(json, 4, 1)).await.unwrap()).await.unwrap();
    assert_eq!((cut.finish_reason, cut.text.as_str()), (FinishReason::Length, "{\"n\""));
}

#[tokio::test]
async fn samplers_and_log_probabilities_work_under_a_form() {
    let model = tiny(1);
    let mut request = short(ResponseFormat::Regex { pattern: "[a-z]{4}".into() }, 9, 3);
    request.sampling = Sampling {
        temperature: Some(1.9),
        min_p: Some(0.0),
        repetition_penalty: Some(1.9),
        logprobs: Some(2),
        ..request.sampling
    };
    let answer = collect(model.chat(&Context::new(), request.clone()).await.unwrap()).await.unwrap();
    assert!(answer.text.len() == 4 && answer.text.chars().all(|c| c.is_ascii_lowercase()), "{}", answer.text);
    assert!(answer.logprobs.iter().all(|l| l.logprob.is_finite() && l.top.len() == 2), "they are the model's own");
    let again = collect(model.chat(&Context::new(), request).await.unwrap()).await.unwrap();
    assert_eq!(answer, again);
}

#[tokio::test]
async fn tools_are_told_to_a_model_that_answers_in_text_all_the_same() {
    let file = file(&testing::tiny_file_of(4096));
    let model = LocalModel::load("tiny", &file.path, &LocalConfig::default()).unwrap();
    assert!(!model.profile().capabilities.tools, "its template knows no tools");
    let plain = ask(Sampling { max_tokens: Some(8), seed: Some(5), ..Sampling::default() });
    let told = ChatRequest { tools: vec![FunctionSpec::new("weather")], ..plain.clone() };
    assert!(model.count_tokens(&told).unwrap() > model.count_tokens(&plain).unwrap() + 300);
    let answer = collect(model.chat(&Context::new(), told).await.unwrap()).await.unwrap();
    assert!(answer.tool_calls.is_empty() && answer.finish_reason != FinishReason::ToolCalls);
}

/// A tool of random parameters that have an end.
fn random_tool(seed: u64) -> FunctionSpec {
    let mut random = StdRng::seed_from_u64(seed);
    let properties: serde_json::Map<_, _> =
        (0..3).map(|at| (format!("p{at}"), super::grammar::random_schema(&mut random, 1))).collect();
    let mut schema = json!({"type": "object", "required": ["p0", "p2"], "additionalProperties": false});
    if seed.is_multiple_of(2) {
        schema["properties"] = properties.into();
    } else {
        schema["properties"] = json!({"p0": {"$ref": "#/$defs/p0"}, "p2": {"$ref": "#/$defs/p2"}});
        schema["$defs"] = properties.into();
    }
    FunctionSpec { parameters: schema, ..FunctionSpec::new(format!("tool-{seed}")) }
}

/// A model of random weights, which would call nothing by itself, in every way to write calls.
#[tokio::test]
async fn a_call_that_is_asked_for_comes_with_arguments_that_fit() {
    let ways: [(&str, &[&str]); 7] = [
        ("{{ tools }} <tool_call>", &[]),
        ("{{ tools }} <tool_call>", &["<tool_call>", "</tool_call>"]),
        ("{{ tools }} <|tool_call|>", &["<|tool_call|>", "<|/tool_call|>"]),
        ("{{ tools }} [TOOL_CALLS]", &["[TOOL_CALLS]"]),
        ("{{ tools }} [TOOL_CALLS] [ARGS]", &["[TOOL_CALLS]", "[ARGS]"]),
        ("{{ tools }} <|python_tag|>", &["<|python_tag|>"]),
        ("no word of them", &[]),
    ];
    let mut came = 0;
    for (template, controls) in ways {
        let template = format!("{template}{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}");
        let file = file(&testing::tiny_file_with(8192, &template, controls));
        let model = LocalModel::load("tiny", &file.path, &LocalConfig::default().threads(1)).unwrap();
        let answers = (0..20).map(|seed| {
            let tools = vec![random_tool(seed), random_tool(seed + 1)];
            let tool_choice = match seed % 4 {
                0 => ToolChoice::Tool(tools[1].name.clone()),
                _ => ToolChoice::Required,
            };
            let parallel_tool_calls = [None, Some(false), Some(true)][seed as usize % 3];
            let sampling = Sampling {
                seed: Some(seed),
                max_tokens: Some(400),
                // So that one who may go on does end.
                logit_bias: [(2, 4.0)].into(),
                ..Sampling::default()
            };
            let request = ChatRequest { tools, tool_choice, parallel_tool_calls, ..ask(sampling) };
            let model = &model;
            async move {
                let answer = collect(model.chat(&Context::new(), request.clone()).await.unwrap()).await.unwrap();
                (request, answer)
            }
        });
        for (request, answer) in futures_util::future::join_all(answers).await {
            if answer.finish_reason == FinishReason::Length {
                continue;
            }
            came += 1;
            assert_eq!((answer.finish_reason, answer.text.as_str()), (FinishReason::ToolCalls, ""), "{template}");
            for call in &answer.tool_calls {
                let tool = request.tools.iter().find(|tool| tool.name == call.name).unwrap();
                let validator = jsonschema::options().should_validate_formats(true).build(&tool.parameters).unwrap();
                assert!(validator.is_valid(&call.arguments), "{} of {}", call.arguments, tool.parameters);
                match &request.tool_choice {
                    ToolChoice::Tool(name) => assert_eq!(call.name, *name),
                    _ => assert!(!answer.tool_calls.is_empty()),
                }
            }
            let named = matches!(request.tool_choice, ToolChoice::Tool(_));
            if named || request.parallel_tool_calls == Some(false) {
                assert_eq!(answer.tool_calls.len(), 1, "{template}");
            }
        }
    }
    assert!(came > 7 * 15, "only {came} of 140 came to an end");
}

#[tokio::test]
async fn no_call_comes_where_none_may() {
    let file = file(&testing::tiny_file_with(4096, "{{ tools }}<tool_call>", &["<tool_call>"]));
    let model = LocalModel::load("tiny", &file.path, &LocalConfig::default()).unwrap();
    // What opens a call is said at all costs, and JSON behind it.
    let sampling = Sampling { max_tokens: Some(40), logit_bias: [(260, 100.0)].into(), ..Sampling::default() };
    let tools = vec![FunctionSpec::new("f")];
    let request = ChatRequest { tools, tool_choice: ToolChoice::None, ..ask(sampling) };
    let answer = collect(model.chat(&Context::new(), request.clone()).await.unwrap()).await.unwrap();
    assert_eq!((answer.tool_calls.len(), answer.finish_reason), (0, FinishReason::Length));
    let without = ChatRequest { tools: vec![], ..request.clone() };
    assert_eq!(model.count_tokens(&request).unwrap(), model.count_tokens(&without).unwrap(), "nor is it told of any");
}
