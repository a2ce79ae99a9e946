-- Slaves that are set aside because their failures stand out from those of the others.

alter table slaves
    -- Since when it is set aside, and why; null: it is not.
    add column set_aside timestamptz,
    add column set_aside_reason text,
    -- While it is set aside: its failures above this build_id count only once another slave has confirmed them.
    add column suspect_after bigint;

create index slaves_set_aside on slaves (nats_user) where set_aside is not null;
-- The failures of a slave that count, and those that wait for another slave's word.
create index builds_failed_by on builds (slave_id, build_id) where not status and not passing and put_back is null;
create index builds_unconfirmed on builds (slave_id, build_id) where put_back = 'unconfirmed';
