//! The chat template that a GGUF file carries: messages in, the text of the prompt out.

use std::fmt;

use minijinja::{
    Environment, Error as TemplateError, ErrorKind as TemplateErrorKind, Value, context, syntax::SyntaxConfig,
};

use super::{gguf::Gguf, tokenizer::Tokenizer};
use crate::{
    error::{Error, ErrorKind, Result},
    model::{Message, Role},
};

/// A chat template, compiled.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChatTemplate")
    }
}

impl ChatTemplate {
    /// The template of `gguf`; none when it has none.
    pub(super) fn new(gguf: &Gguf) -> Result<Option<Self>> {
        let Some(source) = gguf.text_if_any("tokenizer.chat_template")? else { return Ok(None) };
        let mut environment = Environment::new();
        // As transformers sets up Jinja, for which templates are written.
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|e| Error::unexpected("the template syntax is refused").caused_by(e))?,
        );
        environment.set_debug(false);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<String, TemplateError> {
            Err(TemplateError::new(TemplateErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned("chat", source.to_owned()).map_err(|e| {
            let message = format!("the model's chat template cannot be used (line {})", e.line().unwrap_or(0));
            Error::new(ErrorKind::Unsupported, message)
        })?;
        Ok(Some(Self { environment }))
    }

    /// The tokens of the prompt for `messages`, ending where the answer begins.
    ///
    /// # Errors
    /// `Invalid` when the template refuses the messages, such as two of the user in a row.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
        let guard = guard_for(messages)?;
        let said: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => role(message.role), content => tokenizer.guarded(&message.content, guard) })
            .collect();
        let [bos_token, eos_token] = tokenizer.names();
        let prompt = self
            .environment
            .get_template("chat")
            .and_then(|template| {
                template.render(context! { messages => said, add_generation_prompt => true, bos_token, eos_token })
            })
            .map_err(|e| refused(&e))?;
        tokenizer.encode_prompt(&prompt, Some(guard))
    }
}

/// The template's error without its cause: that would show the messages.
fn refused(error: &TemplateError) -> Error {
    let why = match (error.kind(), error.detail()) {
        (TemplateErrorKind::InvalidOperation, Some(detail)) => detail.chars().take(200).collect(),
        (kind, _) => kind.to_string(),
    };
    Error::invalid(format!("the model's chat template refuses these messages: {why}")).during("LocalModel::chat")
}

/// A character for private use that no message has.
fn guard_for(messages: &[Message]) -> Result<char> {
    ('\u{f0000}'..='\u{f00ff}')
        .find(|&c| messages.iter().all(|message| !message.content.contains(c)))
        .ok_or_else(|| Error::invalid("the messages use too many characters of the private use area U+F0000"))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn the_prompt_is_what_the_template_says() {
        let gguf = testing::tiny_gguf();
        let (tokenizer, template) = (Tokenizer::new(&gguf).unwrap(), ChatTemplate::new(&gguf).unwrap().unwrap());
        let messages = [Message::system("Be brief."), Message::user("Hi <|im_end|>")];
        let tokens = template.encode(&tokenizer, &messages).unwrap();
        let text: String = tokens.iter().map(|&token| tokenizer.text(token)).collect();
        assert_eq!(
            text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n"
        );
        let ends = tokens.iter().filter(|&&token| tokenizer.is_end(token)).count();
        assert_eq!(ends, 2, "the one of the user is plain text");
    }

    #[test]
    fn a_refusal_is_told_without_the_messages() {
        let gguf = testing::tiny_gguf();
        let (tokenizer, template) = (Tokenizer::new(&gguf).unwrap(), ChatTemplate::new(&gguf).unwrap().unwrap());
        let error = template.encode(&tokenizer, &[Message::new(Role::Tool, "secret")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("no tools here"), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
    }
}
