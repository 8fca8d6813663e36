// The adapters.
#include "support/model_subject.hpp"

namespace armdb::test {

const char* subject_name(SubjectKind kind) {
  static constexpr const char* kNames[kSubjectKinds] = {"ConstTree",
                                                        "ConstMap",
                                                        "ZeroTree",
                                                        "ZeroMap",
                                                        "TypedTree",
                                                        "TypedMap",
                                                        "VarTree",
                                                        "VarMap",
                                                        "VarTypedTree",
                                                        "VarTypedMap",
                                                        "FixedTree",
                                                        "FixedMap",
                                                        "FixedTree of one copy"};
  return kNames[static_cast<int>(kind)];
}

std::unique_ptr<Subject> Subject::make(SubjectKind kind) {
  using K = ModelKey;
  switch (kind) {
    case SubjectKind::const_tree:
      return std::make_unique<Adapter<ConstTree<K, ByteArray<12>>, true>>();
    case SubjectKind::const_map:
      return std::make_unique<Adapter<ConstMap<K, ByteArray<40>>, false>>();
    case SubjectKind::zero_tree:
      return std::make_unique<Adapter<ZeroTree<K, Record>, true>>();
    case SubjectKind::zero_map:
      return std::make_unique<Adapter<ZeroMap<K, Record>, false>>();
    case SubjectKind::typed_tree:
      return std::make_unique<Adapter<TypedTree<K, Person, PersonCodec>, true>>();
    case SubjectKind::typed_map:
      return std::make_unique<Adapter<TypedMap<K, std::string>, false>>();
    case SubjectKind::var_tree:
      return std::make_unique<Adapter<VarTree<K>, true>>();
    case SubjectKind::var_map:
      return std::make_unique<Adapter<VarMap<K>, false>>();
    case SubjectKind::var_typed_tree:
      return std::make_unique<Adapter<VarTypedTree<K, std::string>, true>>();
    case SubjectKind::var_typed_map:
      return std::make_unique<Adapter<VarTypedMap<K, Person, PersonCodec>, false>>();
    case SubjectKind::fixed_tree:
      return std::make_unique<Adapter<FixedTree<K, ByteArray<12>>, true>>();
    case SubjectKind::fixed_map:
      return std::make_unique<Adapter<ZeroMap<K, Record, NoHook, Fixed>, false>>();
    case SubjectKind::fixed_single:
      return std::make_unique<Adapter<FixedTree<K, ByteArray<40>>, true, true>>();
  }
  return nullptr;
}

}  // namespace armdb::test
