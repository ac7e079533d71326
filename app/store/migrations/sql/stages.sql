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

-- Close rows that will not run: what is left of the main part, of a block or of a step, or all
-- rows that a cancel covers. A row that began and waits to be tried again is cancelled, but not
-- skipped: it ends by itself. `p_block`, `p_position` null: whatever they are.
create function close_unstarted(
    e executions, p_from int, p_below int, p_state text, p_states text[],
    p_summary text default null, p_block int default null, p_position int default null,
    p_reason text default 'stopped'
) returns executions language plpgsql as $$
declare
    v_all int; v_here int; v_waiting int;
begin
    with wanted as (
        select id from steps
        where execution_id = e.id and stage >= p_from and stage < p_below and state = any (p_states)
          and (p_state = 'cancelled' or state <> 'queued' or started_at is null)
          and (p_block is null or block = p_block)
          and (p_position is null or position = p_position)
        order by id for update
    ), closed as (
        update steps s set state = p_state, reason = p_reason, finished_at = clock_timestamp(),
            result = case when p_summary is null then result
                          else jsonb_build_object('summary', p_summary) end
        from wanted where s.id = wanted.id
        returning s.*
    ), told as (
        insert into events (tenant, execution_id, step_id, kind, actor, data)
        select c.tenant, c.execution_id, c.id, 'step.' || p_state, null,
               step_facts(c) || case when p_summary is null then '{}'
                                     else jsonb_build_object('summary', p_summary) end
        from closed c
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

-- Skip the rows `p_ids` of the open stage (null: all of them) whose target failed before in the
-- same block; of rows that run again, only for what failed ahead of them.
create function leave_out(e executions, p_ids bigint[]) returns void language sql as $$
    with gone as (
        update steps s set state = 'skipped', reason = 'stopped', finished_at = clock_timestamp(),
            result = jsonb_build_object('summary', format('left out: step %s failed on it', d.key))
        from dropouts d
        where s.execution_id = e.id and s.stage = e.stage and s.state = 'pending'
          and (p_ids is null or s.id = any (p_ids))
          and d.execution_id = e.id and d.block = s.block and d.target = s.target ->> 'name'
          and (s.run = 1 or exists (
              select from steps f
              where f.execution_id = e.id and f.block = s.block and f.stage < s.stage
                and f.state = 'failed' and f.on_failure <> 'continue'
                and coalesce(f.target ->> 'name', d.target) = d.target))
        returning s.*
    )
    insert into events (tenant, execution_id, step_id, kind, actor, data)
    select g.tenant, g.execution_id, g.id, 'step.skipped', null,
           step_facts(g) || jsonb_build_object('summary', g.result -> 'summary')
    from gone g
$$;

-- Let the rows `p_ids` of the open stage (null: all of them) begin, of a step with `max_parallel`
-- as many as that says. A row that fills its stage alone is marked as sent at once (by now(), the
-- transaction's own moment) when the caller may publish: `send_next` tells it to.
create function open_rows(e executions, p_ids bigint[], p_send int) returns executions
language plpgsql as $$
declare
    v_rows int; v_due int; v_capped int; v_held int := 0;
begin
    if e.shaped then perform leave_out(e, p_ids); end if;
    with moved as (
        update steps
        set state = case when dynamic then 'due' else 'queued' end,
            queued_at = clock_timestamp(),
            sent_at = case when linkable and p_send > 0 then now() end,
            sends = case when linkable and p_send > 0 then sends + 1 else sends end
        where execution_id = e.id and stage = e.stage and state = 'pending'
          and (p_ids is null or id = any (p_ids)) and (max_parallel is null or dynamic)
        returning dynamic, caps
    )
    select count(*), count(*) filter (where dynamic), count(caps)
    into v_rows, v_due, v_capped from moved;
    if e.shaped then
        with held as (
            select id, row_number() over (partition by position order by target_index) as place, max_parallel
            from steps
            where execution_id = e.id and stage = e.stage and state = 'pending'
              and (p_ids is null or id = any (p_ids))
        ), moved as (
            update steps s set state = 'queued', queued_at = clock_timestamp()
            from held h where s.id = h.id and h.place <= h.max_parallel
            returning s.caps
        )
        select count(*), v_capped + (select count(caps) from moved) into v_held, v_capped
        from held;
    end if;
    if e.waiting > 0 then  -- rows that wait for a decision are open, too
        select v_held + count(*) into v_held from steps
        where execution_id = e.id and stage = e.stage and state = 'waiting'
          and (p_ids is null or id = any (p_ids));
    end if;
    e.stage_open := e.stage_open + v_rows + v_held;
    if v_due + v_capped > 0 then perform pg_notify('opsfarm_dispatch', 'due'); end if;
    return e;
end $$;

-- A row ended: the next one that its step held back may begin.
create function release_held(s steps) returns void language sql as $$
    update steps set state = 'queued', queued_at = clock_timestamp()
    where id = (
        select h.id from steps h
        where h.execution_id = s.execution_id and h.stage = s.stage and h.position = s.position
          and h.state = 'pending' and h.max_parallel is not null
        order by h.target_index limit 1)
$$;

-- Go to the next stage that has something to do, or to the end. Call with the row locked.
create function advance(e executions, p_send int) returns executions language plpgsql as $$
begin
    while e.stage_open = 0 and e.stage < e.stages loop
        e.stage := e.stage + 1;
        if e.stage < e.cancel_below then
            e := close_unstarted(e, e.stage, e.cancel_below, 'cancelled', '{pending}');
            e.stage_open := 0;
            e.stage := e.cancel_below - 1;
        elsif e.stopping and e.stage < coalesce(e.undo_stage, e.finally_stage) then
            e := close_unstarted(e, e.stage, coalesce(e.undo_stage, e.finally_stage), 'skipped',
                                 '{pending}');
            e.stage_open := 0;
            e.stage := coalesce(e.undo_stage, e.finally_stage) - 1;
        elsif e.stage < e.stages then
            e := open_rows(e, null, p_send);
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
                     jsonb_build_object('state', e.state, 'name', e.name, 'run', e.run));
        perform pg_notify('opsfarm_final', e.id::text);
    end if;
    update executions set
        state = e.state, stage = e.stage, stages = e.stages, finally_stage = e.finally_stage,
        undo_stage = e.undo_stage, shaped = e.shaped,
        stage_open = e.stage_open, failed = e.failed, cancelled = e.cancelled,
        interrupted = e.interrupted, waiting = e.waiting, stopping = e.stopping,
        cancel_below = e.cancel_below, cancel_requested_at = e.cancel_requested_at,
        cancelled_by = e.cancelled_by, cancel_reason = e.cancel_reason,
        finished_at = e.finished_at
    where id = e.id;
    return e;
end $$;
