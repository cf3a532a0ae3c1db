//! Requirements: when a resource counts as being there for others that require its package, and when it keeps what it requires.

use super::operation::Operation;
use super::resource::ResourceStatus;

/// Whether an operation makes sense only with what the package requires. What pauses, takes away or looks does without.
pub const fn asks(operation: &Operation) -> bool {
    match operation {
        Operation::Install | Operation::Update | Operation::Resume | Operation::Own(_) => true,
        Operation::Pause | Operation::Remove | Operation::Probe | Operation::Adopt | Operation::Register => {
            false
        }
    }
}

/// Whether a resource is there for others, when a run that requires it begins.
pub const fn is_there(status: ResourceStatus) -> bool {
    matches!(status, ResourceStatus::Active | ResourceStatus::Success | ResourceStatus::Paused)
}

/// Whether a resource is, or is on its way to be, there for a run that is accepted now. `in_front`: its open run comes before that one.
pub const fn will_be_there(status: ResourceStatus, in_front: bool) -> bool {
    match status {
        ResourceStatus::Active | ResourceStatus::Success | ResourceStatus::Paused => true,
        ResourceStatus::Pending | ResourceStatus::Installing | ResourceStatus::Updating => in_front,
        ResourceStatus::Failed | ResourceStatus::Removing => false,
    }
}

/// Whether a resource keeps what it requires from being taken away. One that is being removed lets go, and one that never came to be holds
/// nothing. `applied`: it was there once.
pub const fn holds(status: ResourceStatus, applied: bool) -> bool {
    match status {
        ResourceStatus::Removing => false,
        ResourceStatus::Failed => applied,
        ResourceStatus::Pending
        | ResourceStatus::Installing
        | ResourceStatus::Active
        | ResourceStatus::Success
        | ResourceStatus::Updating
        | ResourceStatus::Paused => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_there_and_what_holds_stands_for_every_status() {
        use ResourceStatus as S;
        // (status, is there, will be there in front / not in front, holds when applied / never applied)
        let table = [
            (S::Pending, false, (true, false), (true, true)),
            (S::Installing, false, (true, false), (true, true)),
            (S::Active, true, (true, true), (true, true)),
            (S::Success, true, (true, true), (true, true)),
            (S::Failed, false, (false, false), (true, false)),
            (S::Updating, false, (true, false), (true, true)),
            (S::Removing, false, (false, false), (false, false)),
            (S::Paused, true, (true, true), (true, true)),
        ];
        assert_eq!(table.len(), S::ALL.len());
        for (status, there, will, hold) in table {
            assert_eq!(is_there(status), there, "{status}");
            assert_eq!((will_be_there(status, true), will_be_there(status, false)), will, "{status}");
            assert_eq!((holds(status, true), holds(status, false)), hold, "{status}");
        }
    }
}
