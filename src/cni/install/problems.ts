/** What keeps an installation from being as it should, in words. */
import type { Problem } from "../../model/status.ts";

const takeOverRemedy = "tandem cni install puts it aside and writes Tandem's; or set cniInstall to false";

export function changedByOthers(path: string): Problem {
  const message = "was changed by somebody else since Tandem wrote it; it is left as it is";
  return { code: "CNI_FILE_CHANGED", severity: "warning", object: path, field: "", message, remedy: takeOverRemedy };
}

export function takenBefore(path: string, ours: string): Problem {
  const message = `the runtime takes this configuration and not ${ours}: new pods are not Tandem's`;
  return { code: "CNI_CONFIG_BEFORE", severity: "error", object: path, field: "", message, remedy: takeOverRemedy };
}

/** @param ours path of the configuration */
export function withdrawnByHand(ours: string): Problem {
  return {
    code: "CNI_WITHDRAWN",
    severity: "warning",
    object: ours,
    field: "",
    message: "was taken away by `tandem cni uninstall`, and the agent does not put it back: new pods are not Tandem's",
    remedy: "tandem cni install writes it again; set cniInstall to false if it is to stay so",
  };
}

export function chainedMissing(type: string, folder: string): Problem {
  const what = type === "portmap" ? "hostPort of containers does nothing" : "it is not called";
  return {
    code: "CNI_CHAINED_MISSING",
    severity: "warning",
    object: `plugin ${type}`,
    field: "cniChained",
    message: `is not in ${folder}: it is left out of the configuration, ${what}`,
    remedy: `install ${type} of containernetworking-plugins into ${folder}, or take it out of cniChained`,
  };
}
