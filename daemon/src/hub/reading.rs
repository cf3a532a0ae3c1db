//! Reading on: how whoever follows the store goes from one thing that it tells to the next. It says what it needs, and whoever drives it sees to that.
//!
//! Only a look has something of the store's in its hands, and is driven to its end although nobody asks for it any more. Whoever waits, and that is
//! what readers do nearly always, has nothing that others need.

use crate::clock::Clock;

/// What there is to do for somebody who reads on.
#[derive(Debug)]
pub enum Next<T> {
    /// To tell this.
    Tell(T),
    /// To look.
    Look,
    /// To wait.
    Wait,
}

/// Somebody who reads on. Pulled, never pushed.
pub trait Reading: Send {
    /// What it tells.
    type Told: Send;
    /// Why it cannot go on.
    type Error: Send;

    /// What there is to do now.
    fn next(&mut self, clock: &dyn Clock) -> Result<Next<Self::Told>, Self::Error>;

    /// Looks in the store for what there is to tell.
    fn look(&mut self, clock: &dyn Clock) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Waits until there may be something to tell.
    fn wait(&mut self, clock: &dyn Clock) -> impl Future<Output = ()> + Send;
}
