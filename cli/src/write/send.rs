//! Sends one request until its outcome is certain. The request keeps its id, so that however often it goes, it is applied
//! once.

use std::time::Duration;

use meridian_env::{Env, Instant};
use meridian_proto::v1;
use meridian_types::{Code, Failure, Kind};

/// Pauses between tries where the server names none: doubled from the first to the last, shortened at random.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Makes `call`, which sends the same request each time, until it succeeds, fails for good, or the next try would be past
/// `deadline`. Once a try may have been applied, no later failure takes that back: the outcome is not known then.
pub(crate) async fn until_settled<T>(
    env: &Env,
    deadline: Instant,
    mut call: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut unknown: Option<Failure> = None;
    let mut pause = PAUSE_MIN;
    loop {
        let failure = match call().await {
            Ok(reply) => return Ok(reply),
            Err(failure) => failure,
        };
        let asked = failure.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
        let wait = asked.unwrap_or_else(|| pause.mul_f64(0.5 + env.rng.below(500) as f64 / 1_000.0));
        if !may_be_repeated(&failure) || env.clock.now() + wait >= deadline {
            return Err(match unknown {
                Some(before) if failure.kind() != Kind::Unknown => {
                    Failure::new(Code::Unknown, format!("{before}; sent again: {failure}"))
                }
                _ => failure,
            });
        }
        if failure.kind() == Kind::Unknown {
            unknown = Some(failure);
        }
        tracing::debug!(?wait, "sending again");
        env.clock.sleep(wait).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

fn may_be_repeated(failure: &Failure) -> bool {
    match failure.kind() {
        // Of an expired session the shards have forgotten what became of the request: asking again tells nothing.
        Kind::Unknown => failure.code != Code::SessionExpired,
        Kind::Retry | Kind::Overloaded => true,
        _ => false,
    }
}

/// A reply may carry a failure of the whole request: only rows that it names are refused by themselves.
pub(super) fn refused_whole(mut reply: v1::FrameReply) -> Result<v1::FrameReply, Failure> {
    match reply.error.take() {
        Some(error) => Err(error.into()),
        None => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use meridian_env::Rng;
    use meridian_env::sim::SimHost;

    use super::*;

    /// Tries whose outcomes are these, in turn and the last one for ever: how the request ends, how often it was sent, and
    /// after how many seconds.
    async fn settled(outcomes: &[Result<u64, Code>]) -> (Result<u64, Code>, usize, u64) {
        let env = SimHost::new("cli", &Rng::from_seed(1)).env_inline();
        let (mut tries, start) = (0, env.clock.now());
        let call = async || {
            let outcome = outcomes[tries.min(outcomes.len() - 1)];
            tries += 1;
            outcome.map_err(|code| match code {
                Code::Overloaded => Failure::new(code, "full").retry_after_ms(3_000),
                _ => Failure::new(code, "failed"),
            })
        };
        let settled = until_settled(&env, start + Duration::from_secs(10), call).await;
        let seconds = (env.clock.now() - start).as_secs();
        (settled.map_err(|failure| failure.code), tries, seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_repeated_is_repeated() {
        let (ok, retry, overloaded, unknown) = (Ok(7), Err(Code::NoLeader), Err(Code::Overloaded), Err(Code::Unknown));
        assert_eq!(settled(&[ok]).await, (Ok(7), 1, 0));
        assert_eq!(settled(&[retry, unknown, ok]).await, (Ok(7), 3, 0));
        assert_eq!(settled(&[overloaded, ok]).await, (Ok(7), 2, 3), "the server says when");
        assert_eq!(settled(&[overloaded]).await, (overloaded, 4, 9), "never past the deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_final_is_told_at_once() {
        for code in [Code::NoDatabase, Code::TypeConflict, Code::Internal, Code::SessionExpired] {
            assert_eq!(settled(&[Err(code)]).await, (Err(code), 1, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_applied_stays_unknown() {
        let (unknown, refused) = (Err(Code::Unknown), Err(Code::NoDatabase));
        assert_eq!(settled(&[unknown, Err(Code::NoLeader)]).await.0, unknown);
        assert_eq!(settled(&[unknown, refused]).await.0, unknown);
        assert_eq!(settled(&[Err(Code::NoLeader), refused]).await.0, refused);
    }
}
