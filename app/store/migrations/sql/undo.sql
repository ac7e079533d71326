-- What an execution did is reversed by rows of its own. One row asks what that takes: the
-- dispatcher puts in its place what the tool files and the results say.

-- The row that asks, in a new stage ahead of what is at `p_stage` now.
create function plan_undo(e executions, p_stage int) returns executions language plpgsql as $$
declare
    v_position int;
begin
    e := move_stages(e, p_stage, 1);
    e.undo_stage := p_stage;
    e.shaped := true;  -- a target whose reversal failed is left out of those that come after
    select max(position) + 1 into v_position from steps where execution_id = e.id;
    perform insert_steps(e, jsonb_build_array(jsonb_build_object(
        'undoes', 0, 'position', v_position, 'key', 'undo', 'target_index', 0, 'stage', 0,
        'tool', 'undo', 'operation', 'plan', 'domain', 'automation', 'queue', '',
        'effect', 'read', 'repeat', 'read', 'linkable', false, 'dynamic', true,
        'template', jsonb_build_object('undo', true), 'parameters', jsonb_build_object(),
        'secrets', '[]'::jsonb, 'on_failure', 'continue', 'timeout_s', 0, 'queue_timeout_s', 0,
        'max_retries', 0, 'backoff_s', 0, 'needs', jsonb_build_object())), p_stage, '{}');
    return e;
end $$;

-- What there is to reverse: rows that succeeded, may have changed something, were not reversed yet,
-- and were not found to need nothing, or to have no undo, before.
create function list_undoable(p_execution uuid) returns setof steps language sql stable as $$
    select s.* from steps s
    where s.execution_id = p_execution and s.state = 'succeeded' and s.effect <> 'read'
      and s.undoes is null and not exists (
          select from steps u where u.execution_id = p_execution and u.undoes = s.id
                                and (u.state = 'succeeded'
                                     or (u.state = 'skipped' and u.reason is null)))
$$;

-- A person wants reversed what a final execution did. Null: there is no such execution.
create function undo_execution(
    p_execution uuid, p_actor text, p_reason text, p_from text default null
) returns jsonb language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions;
begin
    select * into e from executions where id = p_execution for update;
    if not found then return null; end if;
    if e.finished_at is null or not exists (select from list_undoable(e.id)) then
        return jsonb_build_object('accepted', false, 'state', e.state,
                                  'final', e.finished_at is not null);
    end if;
    e := plan_undo(e, e.stages);
    e.stage := e.undo_stage - 1;
    e.stage_open := 0;
    e.stopping := false;
    e.finished_at := null;
    update executions set run = run + 1,
        deadline = clock_timestamp() + make_interval(secs => timeout_s)
    where id = e.id returning run into e.run;
    perform tell(e.tenant, e.id, null, 'execution.undo_asked', p_actor,
                 jsonb_build_object('reason', p_reason, 'from', p_from, 'run', e.run));
    e := keep(advance(e, 0));
    return jsonb_build_object('accepted', true, 'state', e.state);
end $$;

-- What was to be reversed, and turned out to need nothing, is not asked again where it was.
create function forget_undo(e executions) returns executions language plpgsql as $$
begin
    delete from steps where execution_id = e.id and undoes is not null;
    e.undo_stage := null;
    return e;
end $$;
