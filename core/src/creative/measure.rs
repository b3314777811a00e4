//! The arithmetic of ideas: how new, how feasible, in which order.

use unicode_normalization::UnicodeNormalization;

use super::Idea;

/// A text without what does not make an idea another one: case, spacing, punctuation, the form of its characters.
pub(super) fn normal(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// 1 − `nearest`, the highest cosine with any idea seen before; none when nothing was seen before. 0 to 1.
pub(super) fn novelty(nearest: Option<f64>) -> Option<f64> {
    nearest.map(|cosine| 1.0 - cosine.clamp(0.0, 1.0))
}

/// The mean of those that are there.
pub(super) fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<_> = values.flatten().collect();
    // Sorted, so that the sum does not depend on the order of the ideas.
    let mut sorted = values;
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| sorted.iter().sum::<f64>() / sorted.len() as f64)
}

/// The geometric mean: zero when one is zero.
pub(super) fn creativity(novelty: Option<f64>, feasibility: Option<f64>) -> Option<f64> {
    Some((novelty? * feasibility?).sqrt())
}

/// Best first: those that violate nothing before others, then by novelty; one that could not be measured comes after
/// those that could.
pub(super) fn rank(ideas: &mut [Idea]) {
    ideas.sort_by(|a, b| {
        let worst = |idea: &Idea| idea.novelty.unwrap_or(-1.0);
        a.violated.is_empty().cmp(&b.violated.is_empty()).reverse().then(worst(b).total_cmp(&worst(a)))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn idea(novelty: Option<f64>, meets: bool) -> Idea {
        Idea {
            text: format!("{novelty:?} {meets}"),
            model: String::new(),
            operator: String::new(),
            novelty,
            feasibility: None,
            violated: if meets { vec![] } else { vec!["too dear".into()] },
            unchecked: vec![],
        }
    }

    #[test]
    fn form_does_not_make_another_idea() {
        assert_eq!(normal("  Solar-powered  FRIDGES!"), normal("solar powered fridges"));
        assert_eq!(normal("ﬁne Ｃafe\u{301}"), normal("fine Café"));
        assert_ne!(normal("a fridge"), normal("a stove"));
    }

    #[test]
    fn an_exact_repeat_is_not_new() {
        assert_eq!(novelty(Some(1.0)), Some(0.0));
        assert_eq!(novelty(Some(1.000_001)), Some(0.0), "rounding does not make it negative");
        assert_eq!(novelty(Some(-0.5)), Some(1.0));
        assert_eq!(novelty(None), None);
    }

    #[test]
    fn the_score_needs_both() {
        assert_eq!((creativity(Some(0.5), None), creativity(None, Some(1.0))), (None, None));
        assert_eq!(creativity(Some(0.25), Some(1.0)), Some(0.5));
        assert_eq!(creativity(Some(0.0), Some(1.0)), Some(0.0));
    }

    proptest! {
        #[test]
        fn scores_stay_in_range_and_grow_with_their_parts(n in 0.0..=1.0_f64, f in 0.0..=1.0_f64, more in 0.0..=1.0_f64) {
            let score = creativity(Some(n), Some(f)).unwrap();
            prop_assert!((0.0..=1.0).contains(&score));
            prop_assert!(creativity(Some(n.max(more)), Some(f)).unwrap() >= score);
            prop_assert!((0.0..=1.0).contains(&novelty(Some(n * 4.0 - 2.0)).unwrap()));
        }

        #[test]
        fn the_order_of_finding_does_not_matter(values in prop::collection::hash_set((0..100_u32, any::<bool>()), 1..20)) {
            let mut ideas: Vec<_> = values.iter().map(|(n, meets)| idea(Some(f64::from(*n) / 100.0), *meets)).collect();
            let mut other: Vec<_> = ideas.iter().rev().cloned().collect();
            prop_assert_eq!(mean(ideas.iter().map(|i| i.novelty)), mean(other.iter().map(|i| i.novelty)));
            rank(&mut ideas);
            rank(&mut other);
            prop_assert_eq!(&ideas, &other);
            prop_assert!(ideas.is_sorted_by_key(|idea| !idea.violated.is_empty()));
        }

        #[test]
        fn normal_texts_stay_as_they_are(text in "\\PC{0,60}") {
            let once = normal(&text);
            prop_assert_eq!(normal(&once), once);
        }
    }
}
