//! Which items a query may find: by metadata, session and speaker, and by time.

use super::{Filter, Moment, RecallQuery, expiry, namespace::Namespace, record::Record};
use crate::error::{Error, Result};

/// What a query lets through.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    pub(super) filter: Option<Filter>,
    pub(super) session: Option<String>,
    pub(super) speaker: Option<String>,
    /// What was known then; none: now.
    pub(super) as_of: Option<Moment>,
    /// What was true then; none: whenever.
    pub(super) valid_at: Option<Moment>,
    pub(super) now: Moment,
}

impl Admission {
    pub(super) fn of(query: &RecallQuery) -> Result<Self> {
        if query.include_ended && query.valid_at.is_some() {
            let message = "`include_ended` is what was true at any time, `valid_at` at one; leave one of them out";
            return Err(Error::invalid(message));
        }
        if let Some(filter) = &query.filter {
            filter.validate()?;
        }
        let now = Moment::now();
        let valid_at = query.valid_at.or(query.as_of).unwrap_or(now);
        Ok(Self {
            filter: query.filter.clone(),
            session: query.session.clone(),
            speaker: query.speaker.clone(),
            as_of: query.as_of,
            valid_at: (!query.include_ended).then_some(valid_at),
            now,
        })
    }

    /// Whether it lets everything in `namespace` through.
    pub(super) fn is_open(&self, namespace: &Namespace) -> bool {
        self.filter.is_none()
            && self.session.is_none()
            && self.speaker.is_none()
            && self.as_of.is_none()
            && !namespace.bounded
    }

    /// Whether it lets an item through.
    pub(super) fn admits(&self, record: &Record) -> bool {
        let said = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        said(&self.session, &record.session)
            && said(&self.speaker, &record.speaker)
            && !expiry::is_over(record, self.now)
            && self.as_of.is_none_or(|at| i64::try_from(record.stored_ms).is_ok_and(|stored| stored <= at.as_millis()))
            && self.holds(record)
            && self.filter.as_ref().is_none_or(|filter| filter.matches(&record.metadata))
    }

    /// Whether it was true when it is asked for, as far as was known then.
    pub(super) fn holds(&self, record: &Record) -> bool {
        let Some(at) = self.valid_at else { return true };
        let end = match (record.superseded, self.as_of) {
            (Some(superseded), Some(as_of)) if superseded.at_ms as i64 > as_of.as_millis() => superseded.valid_to,
            _ => record.valid_to,
        };
        record.valid_from.is_none_or(|from| from <= at) && end.is_none_or(|end| end > at)
    }
}
