"""Make the Sutro magics known to IPython without ``%load_ext``.

IPython runs this file at every start, in the user's namespace. It only writes down which
extension provides which magic: ``sutro_magic`` is imported when one of them is first used, or when
Tab is first pressed on a line that holds one.
Set ``SUTRO_MAGIC_AUTOLOAD=0`` to switch it off.
"""


def _sutro_magic_autoload() -> None:
    import contextlib

    with contextlib.suppress(Exception):  # whatever is wrong here, the kernel must start
        import os
        from importlib.util import find_spec
        from inspect import signature

        from IPython import get_ipython

        shell = get_ipython()
        if shell is None or os.environ.get("SUTRO_MAGIC_AUTOLOAD", "").strip() == "0":
            return
        spec = find_spec("sutro_magic")
        if spec is None or spec.origin is None:  # a bare folder of that name has a spec, but no origin
            return
        register = shell.magics_manager.register_lazy
        # Without the kind, newer versions of IPython would also offer a magic of the other kind, which does not exist.
        has_kinds = "magic_kind" in signature(register).parameters
        names = (
            "sutro_results",
            "sutro_sql",
            "sutro_jobs",
            "sutro_status",
            "sutro_wait",
            "sutro_profile",
            "sutro_compare",
            "sutro_browse",
            "sutro_cache",
            "sutro_login",
            "sutro_demo",
            "sutro_help",
        )
        for name in names:
            kind = "cell" if name == "sutro_sql" else "line"
            register(name, "sutro_magic", *([kind] if has_kinds else []))

        from IPython.core.completer import context_matcher

        @context_matcher(identifier="sutro_magic_autoload")
        def complete(context):  # noqa: ANN001, ANN202 - annotations would be one more import
            """Load the extension when its completions are first asked for; it then takes this away."""
            before = context.text_until_cursor
            name = before.partition("%sutro_")[2].partition(" ")
            if name[1] and f"sutro_{name[0]}" in names:
                with contextlib.suppress(Exception):
                    shell.extension_manager.load_extension("sutro_magic")
                    for matcher in shell.Completer.custom_matchers:
                        if getattr(matcher, "matcher_identifier", "") == "sutro_magic":
                            return matcher(context)
            return {"completions": []}

        complete.sutro_magic_autoload = True
        shell.Completer.custom_matchers.append(complete)


_sutro_magic_autoload()
del _sutro_magic_autoload
