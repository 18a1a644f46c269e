//! How many bytes of writes may be under way in this router: what is over is refused before anything is proposed, so that
//! "refused" is certain.

use std::sync::Arc;

use meridian_types::{Code, Failure, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When to try again.
const RETRY_AFTER_MS: u32 = 500;

/// The budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self::of(limits::NODE_PROPOSAL_BYTES_MAX)
    }
}

/// One request's part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// A part of nothing yet.
    pub(crate) fn hold(&self) -> Held {
        Held { budget: self.clone(), permit: None }
    }
}

impl Held {
    /// Makes the part `bytes` large, if it is smaller.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Failure> {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(bytes.saturating_sub(held)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let budget = Arc::clone(&self.budget.0);
        let Ok(permit) = budget.try_acquire_many_owned(more) else {
            let text = format!(
                "writes of {} MiB in all are under way, the limit of this router: send again later, or through another",
                limits::NODE_PROPOSAL_BYTES_MAX >> 20
            );
            return Err(Failure::new(Code::Overloaded, text).retry_after_ms(RETRY_AFTER_MS));
        };
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_refused_and_what_is_dropped_comes_back() {
        let budget = Budget::of(100);
        let (mut a, mut b) = (budget.hold(), budget.hold());
        assert_eq!(a.grow_to(60), Ok(()));
        assert_eq!(a.grow_to(40), Ok(()), "it is as large already");
        assert_eq!(b.grow_to(41).map_err(|f| f.code), Err(Code::Overloaded));
        assert_eq!(b.grow_to(40), Ok(()));
        assert_eq!(a.grow_to(61).map_err(|f| f.retry_after_ms), Err(Some(RETRY_AFTER_MS)));
        drop(b);
        assert_eq!(a.grow_to(100), Ok(()));
    }
}
