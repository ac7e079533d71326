-- The execution's state from its counters; the same function as app.outcome.derive_state
-- computes from all rows (a property test compares them).
create function execution_state(e executions) returns text language sql immutable as $$
    select case
        when e.interrupted > 0 then 'attention'
        when e.stage < e.stages and e.stage_open > e.waiting then 'running'
        when e.stage < e.stages then 'waiting'
        when e.failed > 0 then 'failed'
        when e.cancelled > 0 then 'cancelled'
        else 'succeeded'
    end
$$;

-- Close rows that will not run: what is left of the main part, or all rows that a cancel covers.
create function close_unstarted(e executions, p_from int, p_below int, p_state text, p_states text[])
returns executions language plpgsql as $$
declare
    v_all int; v_here int; v_waiting int;
begin
    with closed as (
        update steps set state = p_state, reason = 'stopped', finished_at = clock_timestamp()
        where execution_id = e.id and stage >= p_from and stage < p_below and state = any (p_states)
        returning steps.*
    ), told as (
        insert into events (tenant, execution_id, step_id, kind, actor, data)
        select c.tenant, c.execution_id, c.id, 'step.' || p_state, null, step_facts(c) from closed c
    ), before as (  -- the old states: this snapshot is older than the update
        select s.id, s.state, s.stage from steps s
        where s.execution_id = e.id and s.stage >= p_from and s.stage < p_below
    )
    select count(*), count(*) filter (where b.stage = e.stage), count(*) filter (where b.state = 'waiting')
    into v_all, v_here, v_waiting
    from closed c join before b using (id);
    e.stage_open := e.stage_open - v_here;
    e.waiting := e.waiting - v_waiting;
    if p_state = 'cancelled' then e.cancelled := e.cancelled + v_all; end if;
    return e;
end $$;

-- Go to the next stage that has something to do, or to the end. Call with the row locked.
-- A row that fills its stage alone is marked as sent at once (by now(), the transaction's own
-- moment) when the caller may publish: `send_next` tells it to.
create function advance(e executions, p_send int) returns executions language plpgsql as $$
declare
    v_rows int; v_due int;
begin
    while e.stage_open = 0 and e.stage < e.stages loop
        e.stage := e.stage + 1;
        if e.stage < e.cancel_below then
            e := close_unstarted(e, e.stage, e.cancel_below, 'cancelled', '{pending}');
            e.stage_open := 0;
            e.stage := e.cancel_below - 1;
        elsif e.stopping and e.stage < e.finally_stage then
            e := close_unstarted(e, e.stage, e.finally_stage, 'skipped', '{pending}');
            e.stage_open := 0;
            e.stage := e.finally_stage - 1;
        elsif e.stage < e.stages then
            with moved as (
                update steps
                set state = case when dynamic then 'due' else 'queued' end,
                    queued_at = clock_timestamp(),
                    sent_at = case when linkable and p_send > 0 then now() end,
                    sends = case when linkable and p_send > 0 then sends + 1 else sends end
                where execution_id = e.id and stage = e.stage and state = 'pending'
                returning dynamic
            )
            select count(*), count(*) filter (where dynamic) into v_rows, v_due from moved;
            e.stage_open := v_rows;
            if v_due > 0 then perform pg_notify('opsfarm_dispatch', 'due'); end if;
        end if;
    end loop;
    return e;
end $$;

-- Write the execution back and tell of its end.
create function keep(e executions) returns executions language plpgsql as $$
begin
    e.state := execution_state(e);
    if e.stage >= e.stages and e.finished_at is null then
        e.finished_at := clock_timestamp();
        perform tell(e.tenant, e.id, null, 'execution.finished', null,
                     jsonb_build_object('state', e.state, 'name', e.name));
        perform pg_notify('opsfarm_final', e.id::text);
    end if;
    update executions set
        state = e.state, stage = e.stage, stage_open = e.stage_open, failed = e.failed,
        cancelled = e.cancelled, interrupted = e.interrupted, waiting = e.waiting,
        stopping = e.stopping, cancel_below = e.cancel_below,
        cancel_requested_at = e.cancel_requested_at, cancelled_by = e.cancelled_by,
        cancel_reason = e.cancel_reason, finished_at = e.finished_at
    where id = e.id;
    return e;
end $$;

