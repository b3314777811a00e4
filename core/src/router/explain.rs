//! A decision in words, from what the ledger has of it.

use std::fmt::Write as _;

use super::{CacheHit, LedgerEntry, LedgerQuery, engine::RouterEngine, ledger::Candidate};
use crate::{
    context::Context,
    error::{Error, Result},
};

impl RouterEngine {
    /// Why the reply with this id is of the model it is of, what else could have been asked, and what it cost: in words
    /// for a person. Replies are found as long as the ledger keeps them.
    ///
    /// # Errors
    /// `NotFound` when the ledger has no such reply of the tenant.
    pub async fn explain(&self, cx: &Context, id: &str) -> Result<String> {
        let unknown = || {
            Error::not_found("the ledger has no reply with this id; take the `id` of a reply")
                .during("RouterEngine::explain")
        };
        let written = uuid::Uuid::parse_str(id).ok().and_then(|id| id.get_timestamp()).ok_or_else(unknown)?;
        let (seconds, nanos) = written.to_unix();
        let since_ms = Some(seconds * 1000 + u64::from(nanos) / 1_000_000);
        let tenant = Some(cx.tenant.to_string());
        let query = LedgerQuery { tenant, since_ms, ..LedgerQuery::default() };
        let mut entries = self.entries_of(cx, query, id.to_owned()).await?;
        // As they happened.
        entries.reverse();
        let answer = entries.iter().find(|entry| !entry.failed).or(entries.last()).ok_or_else(unknown)?;
        Ok(in_words(answer, &entries))
    }
}

fn in_words(answer: &LedgerEntry, all: &[LedgerEntry]) -> String {
    let mut words = match (answer.failed, answer.cache_hit) {
        (true, _) => "No model answered.".to_owned(),
        (false, None) => format!("\"{}\" answered.", answer.model),
        (false, Some(CacheHit::Exact)) => {
            format!("The same request had been answered before, by \"{}\"; no model was asked.", answer.model)
        }
        (false, Some(CacheHit::Semantic)) => format!(
            "A request that means the same had been answered before, by \"{}\"; no model was asked.",
            answer.model
        ),
    };
    if let Some(decision) = &answer.decision {
        let mut chosen: Vec<_> = decision.candidates.iter().filter(|candidate| candidate.turn.is_some()).collect();
        chosen.sort_by_key(|candidate| candidate.turn);
        for (at, candidate) in chosen.iter().enumerate() {
            let turn = if at == 0 { "First choice" } else { "Then" };
            say(&mut words, turn, candidate);
        }
        for candidate in decision.candidates.iter().filter(|candidate| candidate.turn.is_none()) {
            say(&mut words, "Passed over", candidate);
        }
    }
    for failed in all.iter().filter(|entry| entry.failed) {
        let _ = write!(words, " An attempt with \"{}\" gave no answer and cost {}.", failed.model, failed.cost);
    }
    let LedgerEntry { input_tokens, output_tokens, cost, reference_cost, .. } = answer;
    let _ = write!(words, " It read {input_tokens} tokens and wrote {output_tokens}, for {cost}");
    if !answer.failed {
        let _ = write!(words, "; the reference model would have cost {reference_cost}");
    }
    words.push('.');
    words
}

fn say(words: &mut String, turn: &str, candidate: &Candidate) {
    let quality = candidate.quality.map(|quality| format!(", quality {quality:.2}")).unwrap_or_default();
    let _ = write!(words, " {turn} \"{}\": {}{quality}.", candidate.model, candidate.reason);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{money::NanoUsd, router::ledger::Decision};

    #[test]
    fn words_say_who_answered_why_and_for_how_much() {
        let candidate = |model: &str, turn, reason: &str| Candidate {
            model: model.into(),
            turn,
            reason: reason.into(),
            ..Candidate::default()
        };
        let candidates = vec![
            candidate("c", None, "it reads no images"),
            candidate("b", Some(2), "remote, costs at most $0.01"),
            Candidate { quality: Some(0.5), ..candidate("a", Some(1), "local, free") },
        ];
        let answer = LedgerEntry {
            model: "b".into(),
            input_tokens: 12,
            output_tokens: 3,
            cost: NanoUsd(5_000_000),
            decision: Some(Decision { candidates, ..Decision::default() }),
            ..LedgerEntry::default()
        };
        let failed = LedgerEntry { model: "a".into(), failed: true, ..LedgerEntry::default() };
        let words = in_words(&answer, &[failed, answer.clone()]);
        for part in [
            "\"b\" answered.",
            "First choice \"a\": local, free, quality 0.50. Then \"b\": remote",
            "Passed over \"c\": it reads no images.",
            "An attempt with \"a\" gave no answer",
            "read 12 tokens and wrote 3",
        ] {
            assert!(words.contains(part), "{part} is not in: {words}");
        }
        let kept = LedgerEntry { cache_hit: Some(CacheHit::Exact), ..answer };
        assert!(in_words(&kept, &[]).contains("no model was asked"));
    }
}
