//! What the fuzz targets of `tests/fuzz` ask of local models: readers of what a file or a model says, which may be
//! anything. Each panics when one of them does, or when what it promises does not hold.
#![allow(missing_docs, clippy::expect_used, clippy::missing_panics_doc, reason = "a fuzz target tells by panicking")]

use std::sync::LazyLock;

use super::{
    family,
    gguf::Gguf,
    safetensors::read_head,
    template::ChatTemplate,
    tokenizer::Tokenizer,
    tools::{CallParser, CallSyntax, Piece},
};
use crate::{
    engine::FunctionSpec,
    model::{ChatRequest, Message, Role},
};

/// Tiny models that cut texts in bytes, and by pieces with a score.
static TOKENIZERS: LazyLock<[Tokenizer; 3]> = LazyLock::new(|| {
    [
        &include_bytes!("../../../tests/fixtures/families/llama3.gguf")[..],
        include_bytes!("../../../tests/fixtures/families/qwen3.gguf"),
        include_bytes!("../../../tests/fixtures/families/gemma3.gguf"),
    ]
    .map(|bytes| {
        let head = Gguf::read(bytes, bytes.len() as u64).expect("the fixture is whole");
        Tokenizer::new(&head).expect("the fixture has a tokenizer")
    })
});

/// The head of a GGUF file, and all that is made of it before weights are read.
pub fn gguf(bytes: &[u8]) {
    let Ok(head) = Gguf::read(bytes, bytes.len() as u64) else { return };
    for info in head.tensors.values() {
        assert!(head.data_offset + info.offset + info.size <= bytes.len() as u64, "a tensor lies in the file");
    }
    let _ = (family::check(&head), family::context_length(&head));
    if let (Ok(tokenizer), Ok(Some(template))) = (Tokenizer::new(&head), ChatTemplate::new(&head)) {
        let _ = template.encode(&tokenizer, &ChatRequest::user("hi <|im_end|>"));
    }
}

/// The head of a safetensors file.
pub fn safetensors(bytes: &[u8]) {
    let Ok((infos, data)) = read_head(bytes, bytes.len() as u64) else { return };
    assert!(infos.values().all(|info| data + info.data_offsets[1] <= bytes.len() as u64), "a tensor lies in the file");
}

/// A text that becomes tokens and comes back.
pub fn tokenizer(text: &str) {
    for tokenizer in &*TOKENIZERS {
        let tokens = tokenizer.encode_plain(text).expect("any text has tokens");
        assert!(tokens.len() >= tokenizer.fewest_tokens(text.len()));
        assert!(tokens.iter().all(|&token| (token as usize) < tokenizer.len() && !tokenizer.is_end(token)));
        let guarded = tokenizer.guarded(text, '\u{f0000}');
        let prompt = tokenizer.encode_prompt(&guarded, Some('\u{f0000}')).expect("any text has tokens");
        assert!(!prompt.iter().any(|&token| tokenizer.is_end(token)), "a user's text is no control token");
    }
    let bytes =
        |tokens: &[u32]| tokens.iter().flat_map(|&token| TOKENIZERS[0].bytes(token)).copied().collect::<Vec<_>>();
    let tokens = TOKENIZERS[0].encode_plain(text).expect("any text has tokens");
    assert_eq!(bytes(&tokens), text.as_bytes(), "no byte is lost");
}

/// A `tokenizer.json`.
pub fn tokenizer_json(bytes: &[u8]) {
    let Ok(whole) = super::tokenizer::parse(bytes) else { return };
    let _ = super::tokenizer::encode_with(&whole, "Some text, é 😀 12\n");
}

/// An answer that comes in two parts, cut where the first byte says.
pub fn tool_calls(data: &[u8]) {
    let [cut, most, text @ ..] = data else { return };
    let answer = String::from_utf8_lossy(text);
    let at = (0..=answer.len().min(usize::from(*cut))).rev().find(|&at| answer.is_char_boundary(at)).unwrap_or(0);
    for syntax in CallSyntax::ALL {
        let most = if *most == 0 { usize::MAX } else { usize::from(*most) };
        let parse = |parts: &[&str]| {
            let mut parser = CallParser::new(syntax, vec!["f".into(), "get_weather".into()], 0, most);
            let mut pieces: Vec<_> = parts.iter().flat_map(|part| parser.push(part)).collect();
            pieces.extend(parser.finish());
            pieces.into_iter().fold(Vec::new(), |mut joined, piece| {
                match (joined.last_mut(), piece) {
                    (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
                    (_, piece) => joined.push(piece),
                }
                joined
            })
        };
        let whole = parse(&[&answer]);
        assert_eq!(whole, parse(&[&answer[..at], &answer[at..]]), "parts change nothing");
        let calls = whole.iter().filter(|piece| matches!(piece, Piece::Call(_))).count();
        assert!(calls <= most);
        if calls == 0 {
            let shown: String =
                whole.iter().map(|piece| if let Piece::Text(text) = piece { text } else { "" }).collect();
            assert_eq!(shown, answer, "nothing is lost");
        }
    }
}

/// A chat template, up to the first byte of zero, and what a user says to it.
pub fn chat_template(text: &str) {
    let (source, content) = text.split_once('\0').unwrap_or((text, "hi"));
    let Ok(template) = ChatTemplate::of_source(source) else { return };
    let messages = vec![Message::system("Be brief."), Message::user(content), Message::new(Role::Assistant, "")];
    let request = ChatRequest { messages, tools: vec![FunctionSpec::new("f")], ..ChatRequest::default() };
    for tokenizer in &*TOKENIZERS {
        if let Ok(tokens) = template.encode(tokenizer, &request) {
            assert!(tokens.iter().all(|&token| (token as usize) < tokenizer.len()));
        }
    }
}
