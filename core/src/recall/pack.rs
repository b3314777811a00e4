//! The best passages for a prompt, as many as fit.

use super::{Hit, RecallContext};

/// Characters of a token, about, in scripts with blanks.
const CHARS_A_TOKEN: usize = 4;

/// About how many tokens `text` has.
fn tokens(text: &str) -> usize {
    let (mut narrow, mut wide) = (0_usize, 0_usize);
    for c in text.chars() {
        // From the scripts of East Asia on a character is a token of its own.
        if c >= '\u{2e80}' { wide += 1 } else { narrow += 1 }
    }
    narrow.div_ceil(CHARS_A_TOKEN) + wide
}

/// Packs `hits`, best first, until `budget` tokens are reached. A hit that does not fit is left out for one that does.
pub(super) fn pack(hits: Vec<Hit>, budget: usize) -> RecallContext {
    let mut context = RecallContext { text: String::new(), tokens: 0, hits: Vec::new() };
    for hit in hits {
        let gap = if context.text.is_empty() { "" } else { "\n\n" };
        let part = format!("{gap}[{}] {}\n{}", context.hits.len() + 1, source(&hit), hit.item.text.trim());
        let with = tokens(&context.text) + tokens(&part);
        if with <= budget {
            context.text.push_str(&part);
            context.hits.push(hit);
        }
    }
    context.tokens = tokens(&context.text);
    context
}

/// Where a hit comes from, for a reader who wants to cite it.
fn source(hit: &Hit) -> String {
    let item = &hit.item;
    let mut parts = vec![item.id.clone()];
    parts.extend(item.session.iter().map(|session| format!("session {session}")));
    parts.extend(item.speaker.clone());
    parts.extend(item.valid_from.map(|from| format!("since {from}")));
    parts.extend(item.valid_to.map(|to| format!("until {to}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recall::{Item, Why};

    fn hit(id: &str, text: &str) -> Hit {
        let item = Item { id: id.into(), text: text.into(), ..Item::default() };
        Hit { score: 1.0, why: Why::default(), passage: None, item }
    }

    #[test]
    fn what_fits_is_packed_and_counted() {
        let hits = vec![hit("a", "Ada moved to Paris."), hit("long", &"word ".repeat(200)), hit("b", "Bob cooks.")];
        let context = pack(hits, 40);
        assert_eq!(context.text, "[1] a\nAda moved to Paris.\n\n[2] b\nBob cooks.");
        assert!(context.tokens <= 40 && context.hits.len() == 2, "{context:?}");
        assert_eq!(tokens("東京"), 2);
        assert!(pack(vec![hit("a", "Ada")], 1).hits.is_empty());
    }
}
