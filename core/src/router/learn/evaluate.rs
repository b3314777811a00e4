//! How well a choice among models would have done on judged prompts, by the measures of the field.

use serde::{Deserialize, Serialize};

use super::calibrate::Choice;

/// What a score between two models is worth, by the protocol of RouteLLM (Ong et al. 2024, section 2.2 and
/// `routellm/evals`): thresholds at the quantiles of the score, trapezoids between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairReport {
    /// Mean quality of the cheaper model alone.
    pub cheap: f64,
    /// Mean quality of the stronger model alone.
    pub strong: f64,
    /// Average performance gap recovered: 0 is the cheaper model, .5 a coin, 1 the stronger one at the price of none;
    /// above 1 where the two complement each other. No number when both are equally good.
    pub apgr: f64,
    /// Percent of calls to the stronger model that recover half of the gap.
    pub cpt50: f64,
    /// Percent of calls to the stronger model that recover four fifths of it.
    pub cpt80: f64,
}

/// Bins of the score; RouteLLM's number.
const BINS: usize = 10;

/// Compares choices by their score; see [`PairReport`]. Nothing when there are none.
pub fn evaluate_pair(choices: &[Choice]) -> Option<PairReport> {
    let mean = |of: &dyn Fn(&Choice) -> f64| choices.iter().map(of).sum::<f64>() / choices.len() as f64;
    let mut scores: Vec<_> = choices.iter().map(|choice| choice.score).collect();
    scores.sort_by(f64::total_cmp);
    let (first, last) = (*scores.first()?, *scores.last()?);
    let (cheap, strong) = (mean(&|c| c.cheap), mean(&|c| c.strong));
    let mut points: Vec<(f64, f64)> = Vec::new();
    for bin in 0..=BINS {
        let threshold = match bin {
            0 => first,
            BINS => last,
            bin => quantile(&scores, bin as f64 / BINS as f64),
        };
        // The last threshold asks the stronger model never.
        let asks = |choice: &Choice| choice.score >= threshold && bin < BINS;
        let share = mean(&|c| f64::from(u8::from(asks(c))));
        points.push((share, mean(&|c| if asks(c) { c.strong } else { c.cheap })));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let trapezoids = points.windows(2).map(|w| (w[1].0 - w[0].0) * f64::midpoint(w[0].1 - cheap, w[1].1 - cheap));
    let at = |part: f64| 100.0 * first_crossing(&points, cheap + part * (strong - cheap));
    let apgr = trapezoids.sum::<f64>() / (strong - cheap);
    Some(PairReport { cheap, strong, apgr, cpt50: at(0.5), cpt80: at(0.8) })
}

/// Linear between the sorted values around it, as numpy and pandas have it.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The least share at which the line through `points` comes to `quality`.
fn first_crossing(points: &[(f64, f64)], quality: f64) -> f64 {
    let crossing = points.windows(2).find(|w| w[0].1 < quality && w[1].1 >= quality);
    match crossing {
        Some(w) => w[0].0 + (w[1].0 - w[0].0) * (quality - w[0].1) / (w[1].1 - w[0].1),
        None if points.first().is_some_and(|point| point.1 >= quality) => 0.0,
        None => 1.0,
    }
}

/// One prompt among many models: what was foretold of each, and how each did. All three lists have one entry a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Foretold {
    /// The expected qualities, 0 to 1.
    pub expected: Vec<f64>,
    /// The qualities as they came out, 0 to 1.
    pub quality: Vec<f64>,
    /// What each model costs on the prompt, in any unit.
    pub cost: Vec<f64>,
}

/// What came of choosing by `expected quality - lambda · cost`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tradeoff {
    /// Quality that a unit of cost must bring.
    pub lambda: f64,
    /// The mean quality.
    pub quality: f64,
    /// The mean cost.
    pub cost: f64,
}

/// Steps of lambda, from none to one at which only cost counts; a factor of about 1.12 between two.
const LAMBDAS: usize = 160;

/// The choices from "only quality counts" to "only cost counts", best quality first.
pub fn tradeoffs(prompts: &[Foretold]) -> Vec<Tradeoff> {
    let all = prompts.iter().flat_map(|prompt| &prompt.cost);
    let dearest = all.copied().fold(0.0, f64::max);
    if prompts.is_empty() {
        return Vec::new();
    }
    let unit = if dearest > 0.0 { dearest.recip() } else { 1.0 };
    // From a ten-thousandth of quality for the dearest call on: a smaller step changes no choice that matters.
    let steps = (0..LAMBDAS).map(|step| unit * 1e-4 * 1.12f64.powi(step as i32));
    std::iter::once(0.0).chain(steps).map(|lambda| tradeoff(prompts, lambda)).collect()
}

fn tradeoff(prompts: &[Foretold], lambda: f64) -> Tradeoff {
    let (mut quality, mut cost) = (0.0, 0.0);
    for prompt in prompts {
        let Some(chosen) = choose(&prompt.expected, &prompt.cost, lambda) else { continue };
        quality += prompt.quality.get(chosen).copied().unwrap_or(0.0);
        cost += prompt.cost.get(chosen).copied().unwrap_or(0.0);
    }
    let count = prompts.len().max(1) as f64;
    Tradeoff { lambda, quality: quality / count, cost: cost / count }
}

/// The model with the best `expected - lambda · cost`; the cheaper among equals.
pub(super) fn choose(expected: &[f64], cost: &[f64], lambda: f64) -> Option<usize> {
    let worth = |at: &usize| expected[*at] - lambda * cost[*at];
    (0..expected.len().min(cost.len())).max_by(|a, b| worth(a).total_cmp(&worth(b)).then(cost[*b].total_cmp(&cost[*a])))
}

/// How prompts would have been served, beside the best single model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The place of the model that is best alone.
    pub best: usize,
    /// Its mean quality.
    pub best_quality: f64,
    /// Its mean cost.
    pub best_cost: f64,
    /// The least mean cost at which the stated part of its quality is kept, if any choice keeps it.
    pub cost_at_retention: Option<f64>,
    /// The part of its cost that this saves; negative when choosing costs more.
    pub saving: Option<f64>,
    /// The choices it is taken from.
    pub tradeoffs: Vec<Tradeoff>,
}

/// Compares choices among models with the best single one, at `retention` (1 is all) of its quality. Nothing without
/// prompts or models.
pub fn evaluate(prompts: &[Foretold], retention: f64) -> Option<Report> {
    let models = prompts.first()?.quality.len();
    let count = prompts.len() as f64;
    let mean = |of: &dyn Fn(&Foretold) -> Option<f64>| prompts.iter().filter_map(of).sum::<f64>() / count;
    let single = |at: usize| (mean(&|p| p.quality.get(at).copied()), mean(&|p| p.cost.get(at).copied()));
    let best =
        (0..models).max_by(|a, b| single(*a).0.total_cmp(&single(*b).0).then(single(*b).1.total_cmp(&single(*a).1)))?;
    let (best_quality, best_cost) = single(best);
    let tradeoffs = tradeoffs(prompts);
    let enough = tradeoffs.iter().filter(|point| point.quality >= retention * best_quality);
    let cost_at_retention = enough.map(|point| point.cost).min_by(f64::total_cmp);
    let saving = cost_at_retention.filter(|_| best_cost > 0.0).map(|cost| 1.0 - cost / best_cost);
    Some(Report { best, best_quality, best_cost, cost_at_retention, saving, tradeoffs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(score: impl Fn(usize) -> f64) -> Vec<Choice> {
        // The cheaper model fails on every second prompt, the stronger one never.
        (0..1000).map(|i| Choice { score: score(i), cheap: (i % 2) as f64, strong: 1.0 }).collect()
    }

    #[test]
    fn a_perfect_score_recovers_the_gap_with_half_of_the_calls_and_chance_needs_all() {
        let perfect = evaluate_pair(&pairs(|i| 1.0 - (i % 2) as f64 + i as f64 * 1e-6)).unwrap();
        assert!((perfect.apgr - 0.75).abs() < 0.01, "{perfect:?}");
        assert!((perfect.cpt50 - 25.0).abs() < 0.5 && (perfect.cpt80 - 40.0).abs() < 0.5, "{perfect:?}");
        let chance = evaluate_pair(&pairs(|i| super::super::seed::mix(i as u64) as f64)).unwrap();
        assert!((chance.apgr - 0.5).abs() < 0.03 && (chance.cpt50 - 50.0).abs() < 5.0, "{chance:?}");
        assert!(evaluate_pair(&[]).is_none());
    }

    #[test]
    fn the_quantiles_are_those_of_numpy() {
        assert!((quantile(&[1.0, 2.0, 3.0, 10.0], 0.9) - 7.9).abs() < 1e-9);
        assert!((quantile(&[5.0], 0.3) - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_choice_that_knows_saves_what_can_be_saved() {
        // The dear model is always right, the cheap one on three of four, and the head knows when.
        let prompts: Vec<_> = (0..100)
            .map(|i| {
                let cheap = f64::from(u8::from(i % 4 != 0));
                Foretold { expected: vec![cheap, 1.0], quality: vec![cheap, 1.0], cost: vec![1.0, 10.0] }
            })
            .collect();
        let report = evaluate(&prompts, 1.0).unwrap();
        assert_eq!((report.best, report.best_quality, report.best_cost), (1, 1.0, 10.0));
        assert_eq!(report.cost_at_retention, Some(0.75 + 2.5));
        assert!((report.saving.unwrap() - 0.675).abs() < 1e-12);
        let less = evaluate(&prompts, 0.75).unwrap();
        assert_eq!(less.cost_at_retention, Some(1.0), "three quarters are kept by the cheap model alone");
        assert!(evaluate(&[], 1.0).is_none());
    }

    #[test]
    fn free_models_are_no_division_by_nothing() {
        let prompts = [Foretold { expected: vec![0.5], quality: vec![1.0], cost: vec![0.0] }];
        let report = evaluate(&prompts, 1.0).unwrap();
        assert_eq!((report.cost_at_retention, report.saving), (Some(0.0), None));
    }
}
