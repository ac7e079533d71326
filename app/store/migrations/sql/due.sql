-- Dynamic steps: what takes the place of a due row.

-- How many stages a due row stands for: those of its block's placeholders, or its own.
create function count_placeholders(s steps) returns int language sql immutable as $$
    select coalesce((s.template ->> 'placeholders')::int, 1)
$$;

-- The rendered rows, with their steps' stages counted from the due row's own. They replace the
-- row, and of a block all its placeholders; what comes later moves. `p_ask` null: nobody is asked.
create function expand_step(p_step bigint, p_rows jsonb, p_ask jsonb, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps; v_replaced int; v_places jsonb; v_ids bigint[];
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps where id = p_step and state = 'due' for update;
    if not found then return jsonb_build_object('accepted', false); end if;
    if p_rows = '[]' then raise exception 'a due step takes at least one row'; end if;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', null,
                 step_facts(s) || jsonb_build_object('rows', jsonb_array_length(p_rows)));
    v_replaced := count_placeholders(s);
    with gone as (
        delete from steps where execution_id = e.id
            and (id = s.id or (stage > s.stage and stage < s.stage + v_replaced))
        returning id, position
    )
    select jsonb_object_agg(position, id) into v_places from gone;
    e := move_stages(e, s.stage + v_replaced, (
        select max((r ->> 'stage')::int) + 1 from jsonb_array_elements(p_rows) r) - v_replaced);
    e.shaped := e.shaped or exists (
        select from jsonb_array_elements(p_rows) r where r ->> 'max_parallel' is not null);
    e.stage_open := e.stage_open - 1;
    v_ids := insert_steps(e, p_rows, s.stage, v_places);
    update steps set linkable = false  -- no chain runs through a stage that others are in, too
    where id = any (v_ids) and linkable and exists (
        select from steps o where o.execution_id = e.id and o.stage = steps.stage
                              and o.id <> steps.id);
    if p_ask is not null then e := ask_approval(e, s.id, v_ids, p_ask); end if;
    e := advance(open_rows(e, coalesce(v_ids, '{}'), p_send), p_send);
    e := keep(e);
    return send_next(e, null, 0, p_send) || jsonb_build_object('accepted', true);
end $$;

-- What begins at a stage or behind it now comes `p_by` stages later (or earlier).
create function move_stages(e executions, p_from int, p_by int) returns executions
language plpgsql as $$
begin
    if p_by = 0 then return e; end if;
    update steps set stage = stage + p_by where execution_id = e.id and stage >= p_from;
    e.stages := e.stages + p_by;
    if e.stage < e.finally_stage then e.finally_stage := e.finally_stage + p_by; end if;
    if e.undo_stage >= p_from then e.undo_stage := e.undo_stage + p_by; end if;
    return e;
end $$;

-- End a due step without running it, and of a block all its placeholders.
create function settle_due(p_step bigint, p_state text, p_reason text, p_summary text, p_send int)
returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps where id = p_step and state = 'due' for update;
    if not found then return jsonb_build_object('accepted', false); end if;
    if count_placeholders(s) > 1 then  -- later stages: the counters do not change
        perform close_unstarted(e, s.stage + 1, s.stage + count_placeholders(s), 'skipped',
                                '{pending}', p_summary);
    end if;
    return settle(p_step, null, '{due}', p_state, p_reason,
                  jsonb_build_object('summary', p_summary), null, p_send);
end $$;
