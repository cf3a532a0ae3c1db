//! Group commit: durable before it is answered, numbered in the order of commits, and no command pays for another's fault.

use futures::future::join_all;
use settled::store::rows::TransitionRow;
use settled::store::{AuditFilter, StoreError};

use crate::fixture::{House, audit_row, new_resource, new_server, write};

pub(crate) async fn p1_what_is_acknowledged_is_there_for_every_reader(house: House) {
    let server = house.server("web1").await;
    for n in 0..20 {
        let resource = house.resource(&server, &format!("r{n}")).await;
        let found = house.read().await.db().resource(resource.id).await.unwrap();
        assert_eq!(found, Some(resource));
    }
}

/// What a command of the storm does, by its number.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Good,
    /// Its guard refuses it.
    Refused,
    /// It is refused after it has written.
    Spoilt,
    /// The database refuses a statement of it.
    Faulty,
}

fn kind(n: usize) -> Kind {
    match n % 7 {
        2 => Kind::Refused,
        4 => Kind::Spoilt,
        6 => Kind::Faulty,
        _ => Kind::Good,
    }
}

pub(crate) async fn p10_numbers_have_no_holes_whatever_fails(house: House) {
    let server = house.server("web1").await;
    let storm = (0..200).map(|n| {
        let mut stale = server.clone();
        stale.version = 77;
        let resource = new_resource(&*house.clock, &server, &format!("r{n}"));
        let (house, id) = (&house, resource.id);
        async move {
            let answer = house
                .write(move |unit| {
                    let (mut resource, mut stale) = (resource.clone(), stale.clone());
                    Box::pin(async move {
                        match kind(n) {
                            Kind::Good => unit.insert_resource(&mut resource).await,
                            Kind::Refused => unit.update_server(&mut stale).await,
                            Kind::Spoilt => {
                                unit.insert_resource(&mut resource).await?;
                                unit.update_server(&mut stale).await
                            }
                            Kind::Faulty => {
                                resource.server = settled::domain::id::ServerId(resource.id.0);
                                unit.insert_resource(&mut resource).await
                            }
                        }
                    })
                })
                .await;
            (n, id, answer)
        }
    });
    let mut good = 0;
    for (n, id, answer) in join_all(storm).await {
        let stored = house.read().await.db().resource(id).await.unwrap();
        if kind(n) == Kind::Good {
            assert!(answer.is_ok() && stored.is_some(), "command {n}: {answer:?}");
            good += 1;
        } else {
            assert!(matches!(answer, Err(StoreError::Conflict)), "command {n}: {answer:?}");
            assert_eq!(stored, None, "command {n} left something");
        }
    }
    let (last, numbers) = house.numbers().await;
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    assert_eq!(last, 1 + good);
}

pub(crate) async fn p10_a_reader_that_follows_sees_every_number_once_and_in_order(house: House) {
    let server = house.server("web1").await;
    let writing = join_all((0..300).map(|n| {
        let (house, server) = (&house, &server);
        async move { house.resource(server, &format!("r{n}")).await }
    }));
    let reading = async {
        let (mut seen, mut changed) = (Vec::<i64>::new(), house.opened.writer.committed());
        while seen.len() < 301 {
            let after = seen.last().copied().unwrap_or(0);
            let page = house.read().await.db().transitions(after, 7).await.unwrap();
            if page.is_empty() {
                changed.changed().await.unwrap();
            }
            seen.extend(page.iter().map(|t| t.seq));
        }
        seen
    };
    let (_, seen) = tokio::join!(writing, reading);
    assert_eq!(seen, (1..=301).collect::<Vec<_>>());
}

pub(crate) async fn p10_a_page_is_bounded_in_length_and_has_no_hole(house: House) {
    let server = house.server("web1").await;
    for n in 0..20 {
        house.resource(&server, &format!("r{n}")).await;
    }
    let all = house.read().await.db().transitions(0, 100).await.unwrap();
    let sum = |rows: &[TransitionRow]| rows.iter().map(|row| row.object.chars().count()).sum::<usize>();
    let one = all[1].object.chars().count();
    // Less than any, some, more than all.
    for length in [1, 3 * one, 10 * sum(&all)] {
        let (mut seen, mut pages) = (Vec::new(), 0);
        while seen.len() < all.len() {
            let after = seen.last().map_or(0, |row: &TransitionRow| row.seq);
            let bound = i64::try_from(length).unwrap();
            let page = house.read().await.db().page_of_transitions(after, 8, bound).await.unwrap();
            assert!(!page.is_empty() && page.len() <= 8, "{}", page.len());
            assert!(page.len() == 1 || sum(&page) <= length, "{} of {length}", sum(&page));
            pages += 1;
            seen.extend(page);
        }
        assert_eq!(seen, all);
        assert!(if length > sum(&all) { pages == 3 } else { pages > 3 }, "{pages} pages of {length}");
    }
    let last = all.last().unwrap().seq;
    assert_eq!(house.read().await.db().page_of_transitions(last, 8, 1_000).await.unwrap(), []);
}

pub(crate) async fn many_commands_share_few_commits(house: House) {
    let server = house.server("web1").await;
    let before = house.opened.writer.committed().borrow().commits;
    join_all((0..512).map(|n| {
        let (house, server) = (&house, &server);
        async move { house.resource(server, &format!("r{n}")).await }
    }))
    .await;
    let commits = house.opened.writer.committed().borrow().commits - before;
    assert!(commits <= 64, "512 commands took {commits} commits");
}

pub(crate) async fn a_command_that_writes_nothing_is_not_committed(house: House) {
    let server = house.server("web1").await;
    let before = *house.opened.writer.committed().borrow();
    let mut stale = server.clone();
    stale.version = 9;
    let refused = house
        .write(move |unit| {
            let mut stale = stale.clone();
            Box::pin(async move { unit.update_server(&mut stale).await })
        })
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
    let read =
        house.write(move |unit| Box::pin(async move { unit.db().await?.server(server.id).await })).await;
    assert!(read.unwrap().is_some());
    assert_eq!(*house.opened.writer.committed().borrow(), before);
}

pub(crate) async fn a_command_that_panics_harms_no_neighbour(house: House) {
    let server = house.server("web1").await;
    let storm = (0..60).map(|n| {
        let resource = new_resource(&*house.clock, &server, &format!("r{n}"));
        let house = &house;
        async move {
            house
                .write(move |unit| {
                    let mut resource = resource.clone();
                    Box::pin(async move {
                        assert!(n % 10 != 3, "a fault before it wrote");
                        unit.insert_resource(&mut resource).await?;
                        assert!(n % 10 != 7, "a fault after it wrote");
                        Ok(())
                    })
                })
                .await
        }
    });
    let answers = join_all(storm).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), n % 10 != 3 && n % 10 != 7, "command {n}: {answer:?}");
    }
    let (last, numbers) = house.numbers().await;
    assert_eq!((last, numbers.len()), (49, 49));
}

pub(crate) async fn a_refused_command_leaves_no_trace_in_the_audit(house: House) {
    let commands = (0..100).map(|n| {
        let house = &house;
        let server = new_server(&*house.clock, &format!("s{n}"));
        async move {
            house
                .write(move |unit| {
                    let mut server = server.clone();
                    Box::pin(async move {
                        if server.name.ends_with('3') {
                            unit.audit(audit_row("Servers.Add", &server.name));
                            return Err(StoreError::Conflict);
                        }
                        unit.insert_server(&mut server).await?;
                        unit.audit(audit_row("Servers.Add", &server.name));
                        Ok(())
                    })
                })
                .await
                .is_ok()
        }
    });
    let accepted = join_all(commands).await.into_iter().filter(|ok| *ok).count();
    let audited = house.read().await.db().audited(&AuditFilter::default(), None, 1_000).await.unwrap();
    assert_eq!((accepted, audited.len()), (90, 90));
    assert!(audited.iter().all(|row| row.at > 0 && !row.object.ends_with('3')));
    // Numbered without gaps, and each with the one transition that was committed with it.
    assert!(audited.iter().map(|row| row.seq).eq((1..=90).rev()));
    for row in &audited {
        assert_eq!(row.transitions_from, row.transitions_to, "{row:?}");
        let with = house.read().await.db().transitions(row.transitions_from - 1, 1).await.unwrap();
        assert!(with[0].object.contains(&row.object), "{row:?}: {with:?}");
    }
}

/// Two daemons on one database: one order of numbers, no deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn p10_two_daemons_share_one_order() {
    let house = House::postgres().await;
    let other = settled::store::open(&house.url, None, house.clock.clone()).await.unwrap();
    assert_eq!(other.store.about().installation, house.opened.store.about().installation);
    let server = house.server("web1").await;
    let storm = (0..400).map(|n| {
        let resource = new_resource(&*house.clock, &server, &format!("r{n}"));
        let writer = if n % 2 == 0 { &house.opened.writer } else { &other.writer };
        async move {
            write(writer, move |unit| {
                let mut resource = resource.clone();
                Box::pin(async move {
                    unit.insert_resource(&mut resource).await?;
                    unit.update_resource(&mut resource).await
                })
            })
            .await
        }
    });
    let reading = async {
        let mut seen = Vec::<i64>::new();
        while seen.len() < 801 {
            let after = seen.last().copied().unwrap_or(0);
            let page = house.read().await.db().transitions(after, 50).await.unwrap();
            seen.extend(page.iter().map(|t| t.seq));
            tokio::task::yield_now().await;
        }
        seen
    };
    let (answers, seen) = tokio::join!(join_all(storm), reading);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(seen, (1..=801).collect::<Vec<_>>());
}
