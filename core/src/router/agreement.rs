//! Several answers of one model to one request: which part of them comes to the same (self-consistency; Wang et al. 2023).

use futures_util::future::join_all;

use super::{
    executor::{Walk, worst},
    learn::same_result,
};
use crate::{model::FinishReason, money::NanoUsd};

/// How much chance other answers have where the request leaves none: they would all be the same.
const SOME_CHANCE: f64 = 0.7;

impl Walk {
    /// Asks the model of the answer that is there for more of them, where the cascade compares some and it has anything to
    /// compare; notes which part comes to the same. All are paid. What fails costs only that.
    pub(super) async fn compare(&mut self, finish_reason: FinishReason) {
        let Some(others) = self.others_wanted(finish_reason) else { return };
        let mut lives = Vec::new();
        for at in 0..others {
            let mut request = self.request.clone();
            let sampling = &mut request.sampling;
            sampling.temperature = sampling.temperature.map(|own| if own > 0.0 { own } else { SOME_CHANCE });
            sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(u64::from(at) + 1));
            // One that has no place now is left out: nobody waits for it.
            lives.extend(self.ask_again(request).await.ok());
        }
        let ended = join_all(lives.into_iter().map(|mut live| async {
            let end = live.read_whole().await;
            (live, end)
        }));
        let Ok(ended) = self.cx.run(async { Ok(ended.await) }).await else { return };
        let Some(own) = self.live.as_ref().map(|live| live.text.clone()) else { return };
        let (mut same, mut count, mut spent) = (0.0, 0.0, NanoUsd::ZERO);
        for (live, end) in ended {
            if end.is_ok() {
                count += 1.0;
                // As the answer itself was read.
                let other = self.form.read(&live.text).unwrap_or_default();
                same += f64::from(u8::from(same_result(&own, &other) == Some(true)));
            }
            spent = spent + live.close(&end);
        }
        self.wasted = self.wasted + spent;
        if let Some(live) = self.live.as_mut().filter(|_| count > 0.0) {
            live.agreement = Some(same / count);
        }
    }

    /// How many answers beside the one that is there are to be compared with it.
    fn others_wanted(&self, finish_reason: FinishReason) -> Option<u32> {
        let (cascade, live) = (self.cascade.as_ref()?, self.live.as_ref()?);
        let others = cascade.agreement.checked_sub(1).filter(|others| *others > 0)?;
        let comparable = finish_reason == FinishReason::Stop
            && live.tool_calls.is_empty()
            && same_result(&live.text, &live.text).is_some();
        let most = worst(&live.step, &self.request);
        let all = NanoUsd(most.0.saturating_mul(i64::from(others) + 1));
        let affordable = self.max_cost().is_none_or(|most| self.wasted + all <= most);
        (comparable && affordable && self.could_be_dearer()).then_some(others)
    }
}
