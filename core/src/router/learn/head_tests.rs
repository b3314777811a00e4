use super::{super::Outcome, *};

fn record(prompt: String, tag: Option<&str>, qualities: &[(&str, f64)]) -> Record {
    let outcomes = qualities
        .iter()
        .map(|(model, quality)| ((*model).to_owned(), Outcome { quality: *quality, ..Outcome::default() }));
    Record { prompt, tag: tag.map(str::to_owned), outcomes: outcomes.collect(), ..Record::default() }
}

/// Sums, which `big` gets right and `small` does not; and greetings, which both do.
fn records(tags: bool) -> Vec<Record> {
    let tag = |name| if tags { Some(name) } else { None };
    (0..60)
        .map(|i| match i % 2 {
            0 => record(format!("What is {i} * {} + {}%?", i + 7, i), tag("sums"), &[("big", 1.0), ("small", 0.0)]),
            _ => record(format!("Say hello to friend {}", "o".repeat(i)), tag("talk"), &[("big", 1.0), ("small", 1.0)]),
        })
        .collect()
}

fn quality(head: &QualityHead, prompt: &str, tag: Option<&str>, model: &str) -> f64 {
    head.predict(prompt, tag, None, [model])[0].unwrap().quality
}

#[test]
fn the_text_alone_tells_what_a_small_model_can_do() {
    let head = QualityHead::train(&records(false)).unwrap();
    assert!(quality(&head, "What is 31 * 38 + 31%?", None, "small") < 0.2);
    assert!(quality(&head, "Say hello to friend ooooooo", None, "small") > 0.8);
    assert!(quality(&head, "What is 31 * 38 + 31%?", None, "big") > 0.9);
}

#[test]
fn a_tag_tells_what_the_text_does_not() {
    let head = QualityHead::train(&records(true)).unwrap();
    let odd = "zzz";
    assert!(quality(&head, odd, Some("sums"), "small") + 0.2 < quality(&head, odd, Some("talk"), "small"));
    let predicted = head.predict(odd, Some("sums"), None, ["small", "unknown"]);
    assert_eq!((predicted[0].unwrap().labels, predicted[1]), (30, None));
}

#[test]
fn without_a_tag_the_cluster_of_the_vector_is_the_prior() {
    let record = |i: usize, models: &[(&str, f64)]| {
        let side = if i.is_multiple_of(2) { [1.0, 0.0] } else { [0.0, 1.0] };
        Record { embedding: Some(side.to_vec()), ..record(format!("prompt {i}"), None, models) }
    };
    let records: Vec<_> = (0..160).map(|i| record(i, &[("big", 1.0)])).collect();
    let mut head = QualityHead::train(&records).unwrap();
    // A model that was not there when the head was trained: the regression knows nothing of it.
    for i in 0..80 {
        head.learn(&record(i, &[("late", f64::from(u8::from(i % 2 == 0)))])).unwrap();
    }
    let late = |side: [f32; 2]| head.predict("prompt", None, Some(&side), ["late"])[0].unwrap().quality;
    assert!(late([1.0, 0.0]) > 0.8 && late([0.0, 1.0]) < 0.2, "{} {}", late([1.0, 0.0]), late([0.0, 1.0]));
}

#[test]
fn few_records_give_means_and_none_give_nothing() {
    let head = QualityHead::train(&records(false)[..4]).unwrap();
    assert!((quality(&head, "anything", None, "small") - 0.5).abs() < f64::EPSILON);
    let none = QualityHead::train(&[]).unwrap();
    assert_eq!(none.predict("anything", None, None, ["small"]), [None]);
}

#[test]
fn labels_learned_later_change_what_is_expected() {
    let mut head = QualityHead::train(&records(true)).unwrap();
    let prompt = "What is 31 * 38 + 31%?";
    for tag in [None, Some("sums")] {
        let before = quality(&head, prompt, tag, "small");
        for _ in 0..30 {
            head.learn(&record(prompt.into(), tag, &[("small", 1.0)])).unwrap();
        }
        assert!(quality(&head, prompt, tag, "small") > before + 0.3, "{tag:?}");
    }
}

#[test]
fn a_head_survives_being_written_down() {
    let head = QualityHead::train(&records(true)).unwrap();
    let again: QualityHead = serde_json::from_str(&serde_json::to_string(&head).unwrap()).unwrap();
    for tag in [None, Some("sums"), Some("talk")] {
        let ask = |head: &QualityHead| head.predict("What is 3 * 4?", tag, None, ["small", "big"]);
        assert_eq!(ask(&head), ask(&again));
    }
}

#[test]
fn odd_records_are_refused_with_what_to_do() {
    let refused = |record: Record| QualityHead::train(&[record]).unwrap_err().message().to_owned();
    assert!(refused(record("a".into(), None, &[("m", 1.5)])).contains("in [0, 1]"));
    assert!(refused(record("a".into(), None, &[("m", f64::NAN)])).contains("in [0, 1]"));
    let with = |parts: usize| Record { embedding: Some(vec![0.1; parts]), ..record("a".into(), None, &[("m", 1.0)]) };
    let error = QualityHead::train(&[with(3), with(4)]).unwrap_err();
    assert!(error.message().contains("one embedder"), "{error}");
    let head = QualityHead::train(&[with(3)]).unwrap();
    assert!(head.predict("a", None, Some(&[0.0; 4]), ["m"])[0].is_some(), "another length leaves the prior");
}

proptest::proptest! {
    #[test]
    fn expectations_stay_within_0_and_1(labels in proptest::collection::vec((".{0,20}", 0.0f64..=1.0), 30..60), asked in ".{0,20}") {
        let records: Vec<_> = labels.into_iter().map(|(prompt, q)| record(prompt, None, &[("m", q)])).collect();
        let head = QualityHead::train(&records).unwrap();
        let quality = quality(&head, &asked, None, "m");
        proptest::prop_assert!((0.0..=1.0).contains(&quality));
    }
}
