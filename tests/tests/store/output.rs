//! Output of steps: pieces that cannot double and leave no gap.

use settled::domain::step::StepId;
use settled::store::StoreError;
use settled::store::rows::StepRecord;

use crate::fixture::House;

async fn append(house: &House, step: StepId, pos: u64, data: &'static [u8]) -> Result<(), StoreError> {
    house.write(move |unit| Box::pin(async move { unit.append_output(step, pos, data).await })).await
}

async fn stepping(house: &House) -> StepRecord {
    let server = house.server("web1").await;
    house.started(house.run(&house.resource(&server, "blog").await).await).await.1
}

pub(crate) async fn p5_output_goes_on_exactly_where_it_ends(house: House) {
    let step = stepping(&house).await.id;
    let (before, _) = house.numbers().await;
    append(&house, step, 0, b"").await.unwrap();
    append(&house, step, 0, b"one\0").await.unwrap();
    append(&house, step, 4, b"").await.unwrap();
    append(&house, step, 4, b"\xff\xfe").await.unwrap();
    for (pos, what) in [(0, "double"), (4, "double"), (3, "overlap"), (7, "gap")] {
        let refused = append(&house, step, pos, b"again").await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{what} at {pos}: {refused:?}");
    }
    let mut reader = house.read().await;
    let all: Vec<u8> =
        reader.db().output(step, 0, 10).await.unwrap().into_iter().flat_map(|(_, d)| d).collect();
    assert_eq!(all, b"one\0\xff\xfe");
    assert_eq!(reader.db().output_at(step, 3).await.unwrap().unwrap().0, 0);
    assert_eq!(reader.db().output(step, 4, 10).await.unwrap()[0].0, 4);
    assert_eq!(reader.db().step(step).await.unwrap().unwrap().output_bytes, 6);
    assert_eq!(house.numbers().await.0, before, "output is no transition");
}

/// The record was loaded before output, or its clearing away, was noted.
pub(crate) async fn an_older_record_of_a_step_does_not_cut_its_output(house: House) {
    let old = stepping(&house).await;
    let id = old.id;
    let update = |record: StepRecord| {
        house.write(move |unit| {
            let mut record = record.clone();
            Box::pin(async move { unit.update_step(&mut record).await })
        })
    };
    append(&house, id, 0, b"12345").await.unwrap();
    assert!(matches!(update(old).await, Err(StoreError::Conflict)));
    let fresh = house.read().await.db().step(id).await.unwrap().unwrap();
    assert_eq!(fresh.output_bytes, 5);
    update(fresh).await.unwrap();
    append(&house, id, 5, b"6").await.unwrap();
}
