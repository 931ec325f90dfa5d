/** The budgets of the comparison with redis-server: throughput, CPU and latency ratios for 64-byte values. */

import { type BudgetCheck, type Comparison, isDisturbed, ratiosOf } from "../report.ts";

type Ratio = "throughput" | "cpu" | "p99";

interface Budget {
  workloads: string[];
  fsync: string;
  pipelines: number[];
  ratio: Ratio;
  relation: ">=" | "<=";
  budget: number;
}

const BUDGETS: Budget[] = [
  everysec(["set", "get"], 64, "throughput", 1.6),
  everysec(["set", "get"], 64, "cpu", 0.6),
  everysec(["set"], 16, "throughput", 1.2),
  everysec(["get"], 16, "throughput", 0.9),
  everysec(["set", "get"], 16, "cpu", 0.75),
  everysec(["set", "get"], 1, "throughput", 1.0),
  everysec(["set", "get"], 1, "cpu", 1.0),
  everysec(["set", "get"], 1, "p99", 1.1),
  {
    workloads: ["set"],
    fsync: "always",
    pipelines: [1, 16],
    ratio: "throughput",
    relation: ">=",
    budget: 1.0,
  },
];

const BUDGET_VALUE_BYTES = 64;

/** One check for every budget and workload, those that this run did not measure included. */
export function comparisonBudgets(cells: Comparison[]): BudgetCheck[] {
  const checks: BudgetCheck[] = [];
  for (const budget of BUDGETS) {
    for (const workload of budget.workloads) {
      for (const pipeline of budget.pipelines) {
        const cell = cells.find(
          (candidate) =>
            candidate.workload === workload &&
            candidate.pipeline === pipeline &&
            candidate.fsync === budget.fsync &&
            candidate.valueBytes === BUDGET_VALUE_BYTES,
        );
        checks.push({
          what: `${workload.toUpperCase()} 64 B, ${budget.fsync}, pipeline ${pipeline}: ${budget.ratio} ratio`,
          measured: cell === undefined ? undefined : ratiosOf(cell)?.[budget.ratio],
          relation: budget.relation,
          budget: budget.budget,
          unit: "x",
          isDisturbed: cell !== undefined && isDisturbed(cell),
        });
      }
    }
  }
  return checks;
}

function everysec(workloads: string[], pipeline: number, ratio: Ratio, budget: number): Budget {
  const relation = ratio === "throughput" ? ">=" : "<=";
  return { workloads, fsync: "everysec", pipelines: [pipeline], ratio, relation, budget };
}
