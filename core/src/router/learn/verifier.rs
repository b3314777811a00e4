//! Whether the answer of a cheap model is taken, or a stronger one is asked.

use serde::{Deserialize, Serialize};

use super::{
    checks::{Answer, DISAGREES, Findings, check},
    features::prompt_features,
    logistic::{Logistic, chance},
};
use crate::error::{Error, Result};

/// Labels from which on they are learned from.
pub const VERIFIER_LABELS: usize = 50;

/// Doubts in answers: by rules at first, learned from judged answers once there are [`VERIFIER_LABELS`].
///
/// It reads the prompt, the answer and what its model says of it; it asks nobody. Some ten microseconds an answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verifier {
    /// Of an answer that is not good.
    wrong: Option<Logistic>,
    /// Of a stronger model that would do better.
    better: Option<Logistic>,
}

/// An answer, and how good it was.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// What was asked.
    pub prompt: &'a str,
    /// The answer of the cheap model.
    pub answer: Answer<'a>,
    /// How good it is, 0 to 1.
    pub quality: f64,
    /// How good the answer of the stronger model is, 0 to 1, where it is known.
    pub stronger: Option<f64>,
}

/// What a verifier thinks of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubt {
    /// How much a stronger model should be asked, 0 to 1; to be held against a calibrated threshold
    /// ([`calibrate`](super::calibrate)), or .5 without one. 1 for an answer that is broken.
    pub value: f64,
    /// Whether labels stand behind it, or rules.
    pub learned: bool,
    /// What was seen, in words.
    pub remarks: Vec<&'static str>,
}

impl Verifier {
    /// Learns from `judged`; with fewer than [`VERIFIER_LABELS`] of them it stays with rules.
    ///
    /// # Errors
    /// `Invalid` when a quality is not in [0, 1].
    pub fn train(judged: &[Judged<'_>]) -> Result<Self> {
        let odd = judged.iter().flat_map(|one| [Some(one.quality), one.stronger]).flatten();
        if let Some(odd) = odd.into_iter().find(|quality| !(0.0..=1.0).contains(quality)) {
            return Err(Error::invalid(format!("a quality is {odd}; it must be in [0, 1]")));
        }
        if judged.len() < VERIFIER_LABELS {
            return Ok(Self::default());
        }
        let rows: Vec<_> =
            judged.iter().map(|one| inputs(one.prompt, &one.answer, &check(one.prompt, &one.answer))).collect();
        let wrong: Vec<_> = judged.iter().map(|one| 1.0 - one.quality).collect();
        let compared: Vec<_> =
            judged.iter().zip(&rows).filter_map(|(one, row)| Some((row, one, one.stronger?))).collect();
        let better = if compared.len() < VERIFIER_LABELS {
            None
        } else {
            let rows: Vec<_> = compared.iter().map(|(row, ..)| (*row).clone()).collect();
            let labels: Vec<_> = compared.iter().map(|(_, one, stronger)| (stronger - one.quality).max(0.0)).collect();
            Logistic::fit(&rows, &labels)
        };
        Ok(Self { wrong: Logistic::fit(&rows, &wrong), better })
    }

    /// How much `answer` to `prompt` is doubted.
    pub fn doubt(&self, prompt: &str, answer: &Answer<'_>) -> Doubt {
        let findings = check(prompt, answer);
        let inputs = inputs(prompt, answer, &findings);
        let heads: Vec<_> =
            [&self.wrong, &self.better].into_iter().flatten().map(|head| head.log_odds(&inputs)).collect();
        let value = match &heads[..] {
            [] => by_rules(answer, &findings),
            heads => chance(heads.iter().sum::<f64>() / heads.len() as f64),
        };
        let value = if findings.broken { 1.0 } else { value };
        Doubt { value, learned: !heads.is_empty(), remarks: findings.remarks }
    }
}

fn inputs(prompt: &str, answer: &Answer<'_>, findings: &Findings) -> Vec<f64> {
    let prompt = prompt_features(prompt);
    let prompt = prompt.iter().map(|feature| f64::from(*feature));
    let agreement = [f64::from(u8::from(answer.agreement.is_some())), answer.agreement.unwrap_or(0.5)];
    findings.inputs.iter().copied().chain(prompt).chain(agreement).collect()
}

/// Each remark counts as much; two of them are more likely wrong than right. So is an answer that its model would not give
/// again; one that it gives each time may have one remark more.
fn by_rules(answer: &Answer<'_>, findings: &Findings) -> f64 {
    let remarks = findings.remarks.iter().filter(|remark| **remark != DISAGREES).count() as f64;
    let disagreement = answer.agreement.map_or(0.0, |part| 3.0 - 4.0 * part);
    chance(remarks + disagreement - 1.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &str = "Ann has 16 eggs. She eats 3 and bakes with 4. How many eggs are left?";
    const RIGHT: &str = "She uses 3 + 4 = 7 eggs. So 16 - 7 = 9 eggs are left.\n#### 9";
    const WRONG: &str = "16 - 3 = 13 so she has 13 * 55 = 700 eggs.\n#### 12";

    fn answer(text: &str) -> Answer<'_> {
        Answer { text, ..Answer::default() }
    }

    #[test]
    fn rules_doubt_what_looks_wrong() {
        let verifier = Verifier::default();
        let (right, wrong) = (verifier.doubt(QUESTION, &answer(RIGHT)), verifier.doubt(QUESTION, &answer(WRONG)));
        assert!(right.value < 0.5 && wrong.value > 0.5, "{right:?} {wrong:?}");
        assert!(!right.learned && right.remarks.is_empty() && !wrong.remarks.is_empty());
        assert!(verifier.doubt(QUESTION, &answer("")).value >= 1.0);
    }

    #[test]
    fn what_its_model_says_again_speaks_for_an_answer_and_what_it_does_not_against() {
        let with = |text, agreement| Answer { agreement: Some(agreement), ..answer(text) };
        let verifier = Verifier::default();
        let doubt = |text, agreement| verifier.doubt(QUESTION, &with(text, agreement));
        assert!(doubt(RIGHT, 0.0).value > 0.5 && doubt(RIGHT, 1.0).value < 0.2);
        assert_eq!(doubt(RIGHT, 0.25).remarks, [DISAGREES]);
        // Answers that look alike: only agreement tells which are good.
        let judged: Vec<_> = (0..120)
            .map(|i| Judged {
                prompt: QUESTION,
                answer: with(RIGHT, f64::from(i % 2)),
                quality: f64::from(i % 2),
                stronger: Some(1.0),
            })
            .collect();
        let learned = Verifier::train(&judged).unwrap();
        let doubt = |agreement| learned.doubt(QUESTION, &with(RIGHT, agreement)).value;
        assert!(doubt(0.0) > 0.7 && doubt(1.0) < 0.3, "{} {}", doubt(0.0), doubt(1.0));
    }

    #[test]
    fn labels_overrule_rules() {
        // Here answers that look wrong are the good ones.
        let judged: Vec<_> = (0..60)
            .map(|i| {
                let (text, quality) = if i % 2 == 0 { (RIGHT, 0.0) } else { (WRONG, 1.0) };
                Judged { prompt: QUESTION, answer: answer(text), quality, stronger: Some(1.0) }
            })
            .collect();
        let learned = Verifier::train(&judged).unwrap();
        let doubt = learned.doubt(QUESTION, &answer(RIGHT));
        assert!(doubt.learned && doubt.value > 0.5, "{doubt:?}");
        assert!(learned.doubt(QUESTION, &answer(WRONG)).value < 0.5);
        assert!(learned.doubt(QUESTION, &answer("")).value >= 1.0, "no label makes an empty answer good");
        let few = Verifier::train(&judged[..VERIFIER_LABELS - 1]).unwrap();
        assert!(!few.doubt(QUESTION, &answer(RIGHT)).learned);
        let odd = Judged { quality: 2.0, ..judged[0] };
        assert!(Verifier::train(&[odd]).unwrap_err().message().contains("in [0, 1]"));
    }
}
